"""The device of a worker: its choice, with a warning if it is not the one that was wanted."""

from __future__ import annotations

import logging
import os

import torch

from grain_handler.errors import DeviceError

logger = logging.getLogger(__name__)

REQUIRE_GPU = "GRAINSERVE_REQUIRE_GPU"
"""Environment variable. If it is set, and not to 0, a worker without a GPU does not start: on a CPU, ViT-H would take
half a minute for each image."""


def choose(gpu: object, kind: str = "") -> torch.device:
    """Chooses the GPU that TorchServe gave this worker, if torch can use it; else the CPU, if that is allowed.

    Args:
        gpu: number of the GPU; None if TorchServe gave none.
        kind: `deviceType` of the model config: `gpu`, `cpu`, or empty for whatever there is.

    Raises:
        DeviceError: `GRAINSERVE_REQUIRE_GPU` is set and the worker would run on the CPU.
    """
    available = torch.cuda.is_available()
    if gpu is not None and available:
        return torch.device("cuda", int(str(gpu)))
    given = "TorchServe, which asks nvidia-smi, gave this worker none" if gpu is None else f"it was given GPU {gpu}"
    found = "torch finds one" if available else f"torch (CUDA {torch.version.cuda}) finds no driver that it can use"
    if os.environ.get(REQUIRE_GPU, "") not in ("", "0"):
        raise DeviceError(f"{REQUIRE_GPU} is set, and this worker would run on the CPU: {given}, and {found}")
    if gpu is not None or kind == "gpu":
        logger.warning(
            "This worker was to run on a GPU and runs on the CPU, many times slower: %s, and %s. Set %s=1 to have it "
            "stop instead.",
            given,
            found,
            REQUIRE_GPU,
        )
    return torch.device("cpu")
