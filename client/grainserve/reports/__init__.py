"""Reports: one self-contained page (HTML or PDF) of a sample, or of several side by side."""
