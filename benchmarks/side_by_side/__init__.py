"""Parts of benchmarks/serving.py: two servers, the clients that load them, and the results."""
