"""A limit of time that several steps share."""

from __future__ import annotations

import math
import time


class Deadline:
    """A time limit that began when this was made.

    Args:
        seconds: of it; None for none.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    @classmethod
    def of(cls, limit: float | Deadline | None) -> Deadline:
        """A limit in seconds that begins now; or one that has begun already."""
        return limit if isinstance(limit, cls) else cls(limit)  # type: ignore[arg-type]  # mypy#12155

    @property
    def left(self) -> float:
        """Seconds left, 0 or more; infinite where there is no limit."""
        return max(0.0, self._end - time.monotonic())
