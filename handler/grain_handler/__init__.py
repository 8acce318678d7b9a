"""Everything that runs inside a grainserve TorchServe worker."""
