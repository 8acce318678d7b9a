"""Metrics for Prometheus: of dispatchers, of TorchServe and of the bucket."""
