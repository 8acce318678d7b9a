"""Results as files that other programs read: a module for each kind of file, `formats` for the table of them all."""
