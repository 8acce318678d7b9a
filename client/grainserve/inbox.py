"""The image ids a dispatcher has yet to look at, each with the time before which it need not."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import datetime


class Inbox:
    """A queue of image ids that holds each id once, however often it is put in.

    Args:
        now: the clock, UTC.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._due: list[tuple[datetime, str]] = []
        self._known: set[str] = set()  # queued or in hand
        self._closed = False

    def put(self, image_id: str) -> None:
        """Adds an id, due at once; one that is queued or in hand already is left as it is."""
        with self._changed:
            if image_id not in self._known:
                self._known.add(image_id)
                self._push(image_id, self._now())

    def take(self) -> str | None:
        """Waits for the next id that is due; None once closed. Call `done` with it afterwards."""
        with self._changed:
            while not self._closed:
                wait = (self._due[0][0] - self._now()).total_seconds() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[1]
                self._changed.wait(wait)
            return None

    def done(self, image_id: str, again: datetime | None) -> None:
        """Puts a taken id back for another look at `again`, or forgets it."""
        with self._changed:
            if again is None:
                self._known.discard(image_id)
            else:
                self._push(image_id, again)

    def close(self) -> None:
        """Wakes all who wait; they get None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _push(self, image_id: str, due: datetime) -> None:
        heapq.heappush(self._due, (due, image_id))
        self._changed.notify()
