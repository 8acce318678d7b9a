"""Parts of benchmarks/automask.py: the systems compared, their scenarios, and the comparison of their masks."""
