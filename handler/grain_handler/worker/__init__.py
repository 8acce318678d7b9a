"""The TorchServe worker: model config, device, logs, metrics, faults."""
