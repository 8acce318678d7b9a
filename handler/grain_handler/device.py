"""Where a worker runs."""

from __future__ import annotations

import os

import torch

from grain_handler.errors import DeviceError

REQUIRE_GPU = "GRAINSERVE_REQUIRE_GPU"
"""Environment variable; set, and not to 0: a worker without a GPU does not start, as ViT-H would take half a minute an
image."""


def choose(gpu: object) -> torch.device:
    """The GPU that TorchServe gave this worker, if torch can use it; else the CPU, where that is allowed.

    Args:
        gpu: Its number, or None.

    Raises:
        DeviceError: If there must be a GPU and there is none.
    """
    available = torch.cuda.is_available()
    if gpu is not None and available:
        return torch.device("cuda", int(str(gpu)))
    if os.environ.get(REQUIRE_GPU, "") not in ("", "0"):
        given = "TorchServe, which asks nvidia-smi, gave this worker none" if gpu is None else f"it was given GPU {gpu}"
        found = "torch finds one" if available else f"torch (CUDA {torch.version.cuda}) finds no driver that it can use"
        raise DeviceError(f"{REQUIRE_GPU} is set, and this worker would run on the CPU: {given}, and {found}")
    return torch.device("cpu")
