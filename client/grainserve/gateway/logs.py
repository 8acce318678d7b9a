"""A filter that keeps strangers from filling a gateway's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

NOISY = ("asyncio", "uvicorn", "grainserve.gateway")
"""Loggers whose lines a stranger can provoke. Lines about jobs are never held back."""
LINES, SECONDS = 5, 60.0
"""Lines that one place in the code may log, and the seconds in which it may log them."""


class Seldom(logging.Filter):
    """Lets each place in the code log a few lines a minute. The next minute's first line says how many were held back.

    Args:
        clock: returns the time, s; need not be the time of day.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lines: dict[tuple[str, int], tuple[float, int]] = {}  # by place: since when, and how many

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets the first lines of a place in the code through, and holds the others back."""
        if not record.name.startswith(NOISY):
            return True
        place, now = (record.pathname, record.lineno), self._clock()
        began, lines = self._lines.get(place, (now, 0))
        if now - began >= SECONDS:
            if lines > LINES:
                record.msg, record.args = f"{record.getMessage()} (and {lines - LINES} more that were not logged)", ()
            began, lines = now, 0
        self._lines[place] = began, lines + 1
        return lines < LINES


def hold_back() -> None:
    """Adds the filter to every handler of the root logger."""
    seldom = Seldom()
    for handler in logging.getLogger().handlers:
        handler.addFilter(seldom)
