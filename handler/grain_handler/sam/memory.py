"""A memory budget: it decides how much is computed at once, and shrinks when the device runs out of memory."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

logger = logging.getLogger(__name__)
Made = TypeVar("Made")

DEFAULT_MIB = {"cpu": 64, "cuda": 2048}
"""Budgets by device, MiB. On the CPU small chunks are the fast ones: the arrays of two to four prompts stay in the
cache, and under the 32 MiB from which the C library takes fresh pages every time."""

KEPT_BYTES = 2**28
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets this process keep up to a quarter of a gigabyte of freed memory for its next arrays.

    By default glibc gives large arrays back to the system at once and takes fresh, zeroed pages for the next ones, but
    a worker makes the same arrays hundreds of times for an image. Without glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


class Budget:
    """The memory that intermediate results of automatic masks may take.

    Args:
        device: device that computes the masks.
        mib: size of the budget, MiB; None takes the device's default.
    """

    def __init__(self, device: torch.device, mib: int | None) -> None:
        self.bytes = (mib or DEFAULT_MIB.get(device.type, DEFAULT_MIB["cpu"])) * 2**20

    def chunk(self, item_bytes: int) -> int:
        """Returns how many items of `item_bytes` bytes fit into the budget; at least one."""
        return max(1, self.bytes // item_bytes)

    def chunks(
        self, count: int, item_bytes: int, step: Callable[[slice], Made], at_most: int | None = None
    ) -> Iterator[Made]:
        """Runs a step on consecutive chunks of items.

        When the device runs out of memory, the budget falls for good to half of the failed chunk, and the items are
        tried again.

        Args:
            count: number of items.
            item_bytes: memory that the step needs for each item, bytes.
            step: function that gets the slice of items to work on.
            at_most: most items of a chunk; None for no limit but the budget.

        Yields:
            The step's results, in order.

        Raises:
            torch.OutOfMemoryError: there is no memory for a single item.
        """
        start = 0
        while start < count:
            size = min(self.chunk(item_bytes), at_most or count, count - start)
            made = self._attempt(lambda: step(slice(start, start + size)), size)  # noqa: B023 (called at once)
            if made is None:
                self.bytes = max(1, size // 2) * item_bytes
                continue
            yield made[0]
            start += size

    def _attempt(self, step: Callable[[], Made], size: int) -> tuple[Made] | None:
        """Returns the step's result, or None if it ran out of memory and a smaller chunk can be tried."""
        try:
            return (step(),)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            logger.warning("out of device memory with a chunk of %d: halving it for good", size)
        # After the handler, since the exception holds the failed step's arrays.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
