"""TorchServe's HTTP APIs: inference and management."""
