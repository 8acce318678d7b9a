"""Shares of a gateway's capacity: how many uploads or downloads each key may have at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from grainserve.errors import GrainserveError


class Busy(GrainserveError):
    """The gateway, or the caller's share of it, is full."""

    code = "busy"


class Shares:
    """A capacity that owners share. A request that finds too little left is refused, and may be sent again.

    Args:
        what: words for the capacity in messages, such as `16 uploads`.
        total: amount that all owners together may hold.
        share: largest part of the total that one owner may hold, 0 to 1; an owner may always hold 1.
    """

    def __init__(self, what: str, total: int, share: float) -> None:
        self._what = what
        self._total = total
        self._each = max(1, int(total * share))
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def each(self) -> int:
        """Largest amount that one owner may hold."""
        return self._each

    @contextmanager
    def hold(self, owner: str, amount: int = 1) -> Iterator[int]:
        """Holds an amount for an owner while the block runs; yields the amount held.

        Args:
            owner: name of the key, or the address.
            amount: amount to hold. More than an owner may hold counts as all that the owner may hold.

        Raises:
            Busy: too little is left, or too little for this owner.
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
            yield amount
        finally:
            with self._lock:
                self._held[owner] -= amount
                if not self._held[owner]:
                    del self._held[owner]
