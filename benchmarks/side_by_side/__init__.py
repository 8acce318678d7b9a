"""What benchmarks/serving.py is made of: two servers, the clients that load them, and what comes out."""
