"""Parts of `benchmarks.prompts`."""
