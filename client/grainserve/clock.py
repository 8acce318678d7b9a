"""The time of the storage server, which all dispatchers share whatever their own clocks say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

MEMORY = 600.0
"""Seconds after which a bound is forgotten: quartz drifts by some 50 parts in a million."""


class ServerClock:
    """GCS's clock, read off the `Date` of its answers.

    `Date` is cut to whole seconds and old when it is read, so each one is a lower bound of the difference between
    GCS's clock and ours, and the greatest of the last minutes is kept: the time given is never ahead of GCS's and
    less than a second (and the way of one answer) behind it.

    Args:
        local: a clock that no one sets, s.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._ahead: float | None = None
        self._heard = 0.0

    def hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Takes note of an answer; a hook of `requests`. One without a date tells nothing."""
        try:
            date = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return
        here = self._local()
        with self._lock:
            if self._ahead is None or date - here >= self._ahead or here - self._heard > MEMORY:
                self._ahead, self._heard = date - here, here

    def now(self) -> datetime:
        """GCS's time, UTC.

        Raises:
            RuntimeError: GCS has not answered yet.
        """
        with self._lock:
            if self._ahead is None:
                raise RuntimeError("the server's clock was asked for before the server had answered")
            return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self._ahead + self._local())
