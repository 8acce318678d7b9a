"""Figures for Prometheus: of dispatchers, and of TorchServe and the bucket."""
