"""TorchServe over HTTP: inference and management."""
