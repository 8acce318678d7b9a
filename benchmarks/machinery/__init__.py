"""Parts of `benchmarks.jobs`: a module for each question."""
