"""Keeps a fault to one item of a batch: that item gets an error, the others get their answers.

Only a broken device ends the whole worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from grain_handler.errors import InternalError, OutOfMemory, RequestError
from grain_handler.worker import logs

Taken = TypeVar("Taken")
Made = TypeVar("Made")


def attempt(item: Taken | RequestError, step: Callable[[Taken], Made], image_id: str) -> Made | RequestError:
    """Runs a step on one item, so that a fault in it does not touch the rest of the batch.

    A broken CUDA context ends the worker: nothing on this process's device will work again, and TorchServe
    starts a new worker only when this one is gone.

    Args:
        item: input of the step; if it is an error, it is returned and the step is not run.
        step: function to run.
        image_id: name of the item in the log.

    Returns:
        The step's result, or an error.

    Raises:
        SystemExit: the device is broken.
    """
    if isinstance(item, RequestError):
        return item
    try:
        return step(item)
    except RequestError as error:
        return error
    except (torch.OutOfMemoryError, MemoryError):
        logs.fault(image_id, "out of memory")
        return OutOfMemory("the worker ran out of memory: ask for fewer points_per_batch, or try again later")
    except torch.AcceleratorError:
        logs.fault(image_id, "the device failed; ending this worker")
        raise SystemExit(1) from None
    except Exception:  # noqa: BLE001 - the one place where a fault of ours is kept from the other images of its batch
        if _device_broken():
            logs.fault(image_id, "the device failed; ending this worker")
            raise SystemExit(1) from None
        logs.fault(image_id, "unexpected fault")
        return InternalError("the image could not be processed because of a fault in the service; its log has details")


def _device_broken() -> bool:
    """Tells whether the device fails even at an empty task.

    CUDA's libraries (cuBLAS, cuDNN) report a broken context as a plain RuntimeError.
    """
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except torch.AcceleratorError:
        return True
    return False
