"""What runs in the containers beside TorchServe itself: start, readiness and drain, on the standard library alone."""
