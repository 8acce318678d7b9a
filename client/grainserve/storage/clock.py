"""The storage server's clock, which all dispatchers share whatever their own clocks say."""

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
"""Length of a window of bounds, s. The bounds of this window and of the one before count; older ones are forgotten, as
quartz drifts by some 50 parts in a million."""
JUMP = 5.0
"""Seconds by which one answer may move the clock, beyond what the answer's travel time explains."""
AGREE = 3
"""Answers in a row that must agree before they move the clock further. If our clock stood still, as in a laptop that
slept, all answers disagree with what was known; a proxy's wrong date comes among right ones."""


class ServerClock:
    """GCS's clock, read from the `Date` of its answers.

    `Date` is cut to whole seconds and is old when it is read. So each `Date` gives a lower bound of the difference
    between GCS's clock and ours, and the greatest bound of the last minutes counts. The time given is never ahead of
    GCS's, and is behind it by less than a second plus the travel time of one answer. Only storage's own answers count
    (`is_storages`). A date far from what is known counts only when `AGREE` answers in a row agree on it.

    Args:
        local: monotonic clock, s.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._bounds = [-math.inf, -math.inf]  # greatest bound of this window and of the one before, s
        self._since = local()
        self._rivals: list[float] = []  # bounds of the last answers, if far from what is known, s

    def hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Takes the date of an answer; a hook for `requests`. An answer without a date is ignored."""
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
        """Returns the bound to take; None while too few answers speak against what is known."""
        known = max(self._bounds)
        if known == -math.inf or bound - JUMP <= known <= bound + 1 + way + JUMP:
            self._rivals.clear()
            return bound
        self._rivals = [*(each for each in self._rivals if abs(each - bound) <= JUMP), bound]
        if len(self._rivals) < AGREE:
            return None
        agreed = max(self._rivals)
        self._bounds = [-math.inf, -math.inf]  # all known bounds are as far off
        self._rivals.clear()
        return agreed

    def now(self) -> datetime:
        """Returns GCS's time, UTC.

        Raises:
            RuntimeError: GCS has not answered yet.
        """
        with self._lock:
            ahead = max(self._bounds)
        if ahead == -math.inf:
            raise RuntimeError("the server's clock was asked for before the server had answered")
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=ahead + self._local())


def is_storages(response: requests.Response) -> bool:
    """Tells whether an answer is a success of storage's own.

    Refusals and redirects may also come from whatever lies between. All successes of GCS and of the emulator are JSON
    or have GCS's headers.
    """
    if not 200 <= (response.status_code or 0) < 300:
        return False
    own = any(name.lower().startswith(("x-goog-", "x-guploader-")) for name in response.headers)
    return own or response.headers.get("Content-Type", "").startswith("application/json")


def written_at(response: requests.Response) -> datetime | None:
    """Returns when the object in this answer was written, GCS's time, UTC; None where the answer does not say."""
    return _time(response.headers.get("Last-Modified"))


def _time(header: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
