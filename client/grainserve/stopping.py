"""SIGTERM and Ctrl-C as something that a command waits for."""

from __future__ import annotations

import math
import signal
import time
from queue import Empty, SimpleQueue

LOOK_UP = 0.5
"""Longest time that a wait may miss a signal, s."""


class Stopping:
    """An event that a signal's handler sets.

    `threading.Event` is none: its lock is not reentrant, so a handler that runs while its own thread begins to wait
    waits for itself, for ever. A `SimpleQueue` may be put to from a handler.
    """

    def __init__(self) -> None:
        self._heard: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Ends this and every later wait."""
        self._heard.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; after `timeout` seconds, where given, no longer. Returns whether it is set.

        It looks up now and then: a signal that comes just before the system call of a wait does not interrupt that
        wait, and its handler runs only when the wait is over.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                self._heard.get(timeout=max(0.0, min(LOOK_UP, left)))
            except Empty:
                if left <= LOOK_UP:
                    return False
            else:
                self._heard.put(None)  # for the next wait
                return True


class stop_signals:  # noqa: N801 - reads as a verb where it is used
    """Turns SIGTERM and Ctrl-C into an event; a second one ends the process as it would have without this."""

    def __enter__(self) -> Stopping:
        self._stopping = Stopping()
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self._stopping

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _hear(self, *_: object) -> None:
        self._stopping.set()
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
