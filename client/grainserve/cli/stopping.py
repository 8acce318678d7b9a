"""Lets a command wait for SIGTERM or Ctrl-C."""

from __future__ import annotations

import math
import signal
import time

LOOK_UP = 0.1
"""Seconds between two checks for a signal."""


class Stopping:
    """An event that a signal handler may set. It uses no lock.

    `threading.Event` would deadlock if the handler ran while the same thread begins to wait. `SimpleQueue.get` of
    Python 3.11 was seen to miss the signal for ever on a busy machine.
    """

    def __init__(self) -> None:
        self._heard = False

    def set(self) -> None:
        """Sets the event: ends the current and every later wait."""
        self._heard = True

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the event is set; returns whether it is.

        Args:
            timeout: longest wait, s; None: no limit.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self._heard:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK_UP, left))
        return True


class stop_signals:  # noqa: N801 - reads as a verb where it is used
    """A context in which SIGTERM and Ctrl-C set an event. A second signal ends the process as usual."""

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
