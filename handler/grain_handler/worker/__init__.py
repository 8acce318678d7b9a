"""The TorchServe worker: model config, device, logs, metrics, isolation of faults."""
