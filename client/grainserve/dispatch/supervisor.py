"""Runs background threads and restarts their work after a fault of ours."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

BACKOFF = 0.25, 30.0
"""Shortest and longest pause before failed work starts again, s. Work that ran for longer than the longest pause begins
anew with the shortest."""


class Supervisor:
    """A supervisor of work in threads: logs, counts and restarts work that ends by an exception nobody foresaw.

    The pause before a restart doubles with each failure that follows another.

    Args:
        kinds: names of all kinds of work.
        backoff: shortest and longest pause, s.
    """

    def __init__(self, kinds: tuple[str, ...], *, backoff: tuple[float, float] = BACKOFF) -> None:
        self._backoff = backoff
        self._lock = threading.Lock()
        self._failures = Counter(dict.fromkeys(kinds, 0))
        self._down: Counter[str] = Counter()

    def start(self, kind: str, work: Callable[[], None], over: threading.Event) -> threading.Thread:
        """Runs work in a thread of its own until the work returns.

        Args:
            kind: name of the work, by which its failures are counted.
            work: function that returns when there is no more to do, soon after `over` is set.
            over: event after which failed work is not started again.
        """
        # A daemon ends with its process; other dispatchers then take over its jobs.
        thread = threading.Thread(
            target=self._run, args=(kind, work, over), name=f"grainserve-{kind.replace(' ', '-')}", daemon=True
        )
        thread.start()
        return thread

    def count(self, kind: str) -> None:
        """Counts a failure after which the work went on by itself."""
        with self._lock:
            self._failures[kind] += 1

    @property
    def failures(self) -> dict[str, int]:
        """Number of failures of each kind of work so far."""
        with self._lock:
            return dict(self._failures)

    @property
    def down(self) -> dict[str, int]:
        """Number of threads of each kind that have failed and wait to start again; kinds without any are left out."""
        with self._lock:
            return dict(+self._down)

    def _run(self, kind: str, work: Callable[[], None], over: threading.Event) -> None:
        shortest, longest = self._backoff
        pause = shortest
        while True:
            begun = time.monotonic()
            try:
                work()
            except Exception:  # whatever it is: nobody else would learn of it
                if time.monotonic() - begun > longest:
                    pause = shortest
                log.exception("%s failed, a fault of grainserve's own; it starts again in %.3g s", kind, pause)
                self.count(kind)
            else:
                return
            if self._wait(kind, over, pause):
                return
            pause = min(2 * pause, longest)

    def _wait(self, kind: str, over: threading.Event, pause: float) -> bool:
        with self._lock:
            self._down[kind] += 1
        try:
            return over.wait(pause)
        finally:
            with self._lock:
                self._down[kind] -= 1
