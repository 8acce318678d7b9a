"""Image files → RGB pixels: which files are read, how, and why others are refused.

Handler and client hold the same modules in this folder, except for the package's name, so that both see the same
pixels; a test compares the modules. `docs/inputs.md` tells users what is read.
"""
