"""A look at another server, which may not answer, for those who must."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

PATIENCE = 5.0
"""Seconds that a look may take."""

T = TypeVar("T")


class Probe(Generic[T]):
    """One look at a time, however many want to know.

    It is taken in a thread of the event loop's own executor, not in one of the routes': all of those may be waiting for
    the very server that is looked at.

    Args:
        take: looks, and blocks until it has an answer.
        remembered: seconds for which an answer holds.
    """

    def __init__(self, take: Callable[[], T], remembered: float) -> None:
        self._take = take
        self._remembered = remembered
        self._begun = float("-inf")
        self._taken: asyncio.Task[T] | None = None

    async def answer(self, otherwise: T) -> T:
        """What was seen, or `otherwise` while a look takes longer than PATIENCE."""
        if self._taken is None or (self._taken.done() and time.monotonic() - self._begun > self._remembered):
            self._begun = time.monotonic()
            self._taken = asyncio.create_task(asyncio.to_thread(self._take))
        await asyncio.wait({self._taken}, timeout=max(0.0, self._begun + PATIENCE - time.monotonic()))
        return self._taken.result() if self._taken.done() else otherwise
