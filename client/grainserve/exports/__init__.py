"""Writes results as files that other programs read: a module for each kind of file, and `formats`, which lists them."""
