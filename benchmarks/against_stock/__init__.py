"""What benchmarks/automask.py is made of: the systems compared, what they are asked, and how it is judged."""
