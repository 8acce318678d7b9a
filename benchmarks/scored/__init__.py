"""What `benchmarks.accuracy` is made of."""
