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


class ServerClock:
    """GCS's clock, read off the `Date` of its answers.

    `Date` is cut to whole seconds and old when it is read, so each one is a lower bound of the difference between
    GCS's clock and ours, and the greatest of the last minutes counts: the time given is never ahead of GCS's and
    less than a second (and the way of one answer) behind it.

    Args:
        local: a clock that no one sets, s.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._bounds = [-math.inf, -math.inf]  # the greatest of this window and of the one before, s
        self._since = local()

    def hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Takes note of an answer; a hook of `requests`. One without a date tells nothing."""
        try:
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return
        here = self._local()
        with self._lock:
            if (age := here - self._since) > MEMORY:
                self._bounds, self._since = [-math.inf, self._bounds[0] if age < 2 * MEMORY else -math.inf], here
            self._bounds[0] = max(self._bounds[0], date - here)

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
