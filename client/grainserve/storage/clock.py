"""The time of the storage server, which all dispatchers share whatever their own clocks say."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

MEMORY = 600.0
"""Seconds for which bounds are gathered before those of the time before are forgotten: quartz drifts by some 50 parts
in a million."""
JUMP = 5.0
"""Seconds by which one answer may move the clock, beyond what its way explains."""
AGREE = 3
"""Answers in a row that must agree before they move it further: a clock of ours that stood still, as in a laptop that
slept, makes all of them disagree with what was known; a proxy's wrong date comes among right ones."""


class ServerClock:
    """GCS's clock, read off the `Date` of its answers.

    `Date` is cut to whole seconds and old when it is read, so each one is a lower bound of the difference between
    GCS's clock and ours, and the greatest of the last minutes counts: the time given is never ahead of GCS's and
    less than a second (and the way of one answer) behind it. Only what storage itself says counts (`is_storages`), and
    `AGREE` answers in a row must say it where it is far from what is known.

    Args:
        local: a clock that no one sets, s.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._bounds = [-math.inf, -math.inf]  # the greatest of this window and of the one before, s
        self._since = local()
        self._rivals: list[float] = []  # the bounds of the last answers, where they were far from what is known

    def hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Takes note of an answer; a hook of `requests`. One without a date tells nothing."""
        if not is_storages(response):
            return
        date = _time(response.headers.get("Date"))
        if date is None:
            return
        here = self._local()
        with self._lock:
            bound = self._agreed(date.timestamp() - here, response.elapsed.total_seconds())
            if bound is None:
                return
            if (age := here - self._since) > MEMORY:
                self._bounds, self._since = [-math.inf, self._bounds[0] if age < 2 * MEMORY else -math.inf], here
            self._bounds[0] = max(self._bounds[0], bound)

    def _agreed(self, bound: float, way: float) -> float | None:
        """The bound to take note of, or None while it is one answer's word against what is known."""
        known = max(self._bounds)
        if known == -math.inf or bound - JUMP <= known <= bound + 1 + way + JUMP:
            self._rivals.clear()
            return bound
        self._rivals = [*(each for each in self._rivals if abs(each - bound) <= JUMP), bound]
        if len(self._rivals) < AGREE:
            return None
        agreed = max(self._rivals)
        self._bounds = [-math.inf, -math.inf]  # as far off as those
        self._rivals.clear()
        return agreed

    def now(self) -> datetime:
        """GCS's time, UTC.

        Raises:
            RuntimeError: GCS has not answered yet.
        """
        with self._lock:
            ahead = max(self._bounds)
        if ahead == -math.inf:
            raise RuntimeError("the server's clock was asked for before the server had answered")
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=ahead + self._local())


def is_storages(response: requests.Response) -> bool:
    """Tells storage's own successes from other answers.

    Refusals and redirects come from whatever lies between as well. Of successes, all of GCS's and the emulator's are
    JSON or bear headers of GCS's.
    """
    if not 200 <= (response.status_code or 0) < 300:
        return False
    own = any(name.lower().startswith(("x-goog-", "x-guploader-")) for name in response.headers)
    return own or response.headers.get("Content-Type", "").startswith("application/json")


def written_at(response: requests.Response) -> datetime | None:
    """When the object that this answer brings was written, GCS's time, UTC; None where it does not say."""
    return _time(response.headers.get("Last-Modified"))


def _time(header: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
