"""A time limit that several steps share."""

from __future__ import annotations

import math
import time


class Deadline:
    """A time limit that begins when the object is made.

    Args:
        seconds: length of the limit, s; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @classmethod
    def of(cls, limit: float | Deadline | None) -> Deadline:
        """Returns a deadline unchanged, or makes one from a limit in seconds, which begins now."""
        return limit if isinstance(limit, cls) else cls(limit)  # type: ignore[arg-type]  # mypy#12155

    @property
    def left(self) -> float:
        """Seconds left, 0 or more; infinite where there is no limit."""
        return max(0.0, self._end - time.monotonic())
