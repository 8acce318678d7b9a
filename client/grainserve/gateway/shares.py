"""Who holds how much of what a gateway does at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from grainserve.errors import GrainserveError


class Busy(GrainserveError):
    """As much is under way as a gateway holds in memory."""

    code = "busy"


class Shares:
    """So much at once, of which one owner holds no more than a share: who comes too late is told to come again.

    Args:
        what: is held, in a message: `16 uploads`.
        total: to be had.
        share: the part of it that is the most for one owner; one place in any case.
    """

    def __init__(self, what: str, total: int, share: float) -> None:
        self._what = what
        self._total = total
        self._each = max(1, int(total * share))
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, owner: str, amount: int = 1) -> Iterator[None]:
        """Holds shares while its block runs; what is larger than a share counts as one.

        Raises:
            Busy: there are not so many left, or not for this owner.
        """
        amount = min(amount, self._each)
        with self._lock:
            if self._held.total() + amount > self._total or self._held[owner] + amount > self._each:
                raise Busy(
                    f"{self._what}, or one caller's share of them, are under way, and more are not taken at once: send "
                    "it again in a second"
                )
            self._held[owner] += amount
        try:
            yield
        finally:
            with self._lock:
                self._held[owner] -= amount
                if not self._held[owner]:
                    del self._held[owner]
