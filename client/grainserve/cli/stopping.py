"""SIGTERM and Ctrl-C as something that a command waits for."""

from __future__ import annotations

import math
import signal
import time

LOOK_UP = 0.1
"""Seconds between two looks at whether a signal came."""


class Stopping:
    """An event that a signal's handler sets.

    It holds no lock. `threading.Event` waits for itself, for ever, where a handler runs while its own thread begins to
    wait; and `SimpleQueue.get` of Python 3.11 was seen to miss the signal for ever on a busy machine.
    """

    def __init__(self) -> None:
        self._heard = False

    def set(self) -> None:
        """Ends this and every later wait."""
        self._heard = True

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; after `timeout` seconds, where given, no longer. Returns whether it is set."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self._heard:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK_UP, left))
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
