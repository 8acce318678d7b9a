"""Runs a worker whose device breaks; it must end, with exit code 1.

    python -m benchmarks.on_gpu.broken cuda itself       the image's own step hits the fault
    python -m benchmarks.on_gpu.broken cuda library      the fault is older, and one of CUDA's libraries hits it

A CPU does not break, so there the fault is raised by hand. This is a separate process, since nothing works in it
afterwards.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import torch

from grain_handler.worker.isolation import attempt


def break_device(device: torch.device) -> None:
    """Reads behind a tensor's end: a kernel's assertion fails, which breaks the context.

    Raises:
        torch.AcceleratorError: always.
    """
    if device.type != "cuda":
        raise torch.AcceleratorError("CUDA error: raised by hand, as there is no GPU")
    torch.arange(4, device=device)[torch.tensor([9], device=device)].tolist()


def multiply(device: torch.device) -> list[list[float]]:
    """Lets cuBLAS use the broken context."""
    with suppress(torch.AcceleratorError):
        break_device(device)
    if device.type != "cuda":
        break_device(device)
    square = torch.ones(8, 8, device=device)
    numbers: list[list[float]] = (square @ square).tolist()
    return numbers


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    device, step = torch.device(sys.argv[1]), {"itself": break_device, "library": multiply}[sys.argv[2]]
    print("the worker goes on, with", attempt(device, step, "image"))


if __name__ == "__main__":
    main()
