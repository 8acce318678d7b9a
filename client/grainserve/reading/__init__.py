"""Image files → RGB pixels: which are read, how, and what is said of the others.

The handler and the client hold the same modules in this folder, but for the package's name, so that both see the
same pixels; a test compares them. `docs/inputs.md` says for people what is read.
"""
