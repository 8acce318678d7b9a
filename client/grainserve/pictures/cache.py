"""Keeps what was made last, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Anything that takes a known number of bytes."""

    @property
    def nbytes(self) -> int: ...  # noqa: D102


Kept = TypeVar("Kept", bound=Sized)


class Cache(Generic[Kept]):
    """The values that were asked for last, by their keys.

    Args:
        most: most bytes of all values together; a value that is larger alone is not kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._values: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all values together."""
        return self._held

    def get(self, key: Hashable) -> Kept | None:
        """Returns the value of a key; None where none is kept."""
        with self._lock:
            if (value := self._values.get(key)) is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Kept) -> None:
        """Keeps a value; drops those that were not asked for the longest until all fit."""
        with self._lock:
            if (old := self._values.pop(key, None)) is not None:
                self._held -= old.nbytes
            if value.nbytes > self._most:
                return
            self._values[key] = value
            self._held += value.nbytes
            while self._held > self._most:
                self._held -= self._values.popitem(last=False)[1].nbytes
