"""Programs of the containers beside TorchServe: start, readiness and drain. They need the standard library alone."""
