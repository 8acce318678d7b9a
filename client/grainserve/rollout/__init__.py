"""Model versions at TorchServe: registered, tried, switched to and taken away without losing a request."""
