"""A gateway's log, which strangers do not fill."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

NOISY = ("asyncio", "uvicorn", "grainserve.gateway")
"""Loggers of what happens at a stranger's wish. What is logged of jobs is logged whole."""
LINES, SECONDS = 5, 60.0
"""So many lines in so many seconds from one place in the code."""


class Seldom(logging.Filter):
    """Lets each place in the code log a few lines a minute; the first one after that says how many were held back.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lines: dict[tuple[str, int], tuple[float, int]] = {}  # by place: since when, and how many

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets the first lines of a place through, and holds back what repeats."""
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
    """Puts the filter before every handler of the root logger."""
    seldom = Seldom()
    for handler in logging.getLogger().handlers:
        handler.addFilter(seldom)
