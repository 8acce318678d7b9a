"""Checks of servers that may not answer, for requests that must be answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

PATIENCE = 5.0
"""Seconds that callers wait for a check."""

T = TypeVar("T")


class Probe(Generic[T]):
    """A check of another server that runs once at a time and is shared by all who ask.

    It runs in a thread of the event loop's own executor, not in the routes' pool: all threads of that pool may be
    waiting for the server that is checked.

    Args:
        take: makes the check; blocks until it has an answer.
        remembered: seconds for which an answer is reused.
    """

    def __init__(self, take: Callable[[], T], remembered: float) -> None:
        self._take = take
        self._remembered = remembered
        self._begun = float("-inf")
        self._taken: asyncio.Task[T] | None = None

    async def answer(self, otherwise: T) -> T:
        """Returns the answer of the latest check, or `otherwise` when the check takes longer than PATIENCE."""
        if self._taken is None or (self._taken.done() and time.monotonic() - self._begun > self._remembered):
            self._begun = time.monotonic()
            self._taken = asyncio.create_task(asyncio.to_thread(self._take))
        await asyncio.wait({self._taken}, timeout=max(0.0, self._begun + PATIENCE - time.monotonic()))
        return self._taken.result() if self._taken.done() else otherwise
