"""Changes the model versions that TorchServe serves, without losing a request."""
