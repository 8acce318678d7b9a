"""Embeddings that one worker keeps in its memory."""

from __future__ import annotations

from collections import OrderedDict

from grain_handler.embeddings.kept import Kept


class InProcess:
    """The entries that were used last, up to a limit of memory.

    Args:
        mib: limit, MiB; 0 keeps nothing.
    """

    def __init__(self, mib: int) -> None:
        self.most = mib * 2**20
        self.bytes = 0
        self._entries: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Kept | None:
        """Returns an entry and marks it as used; returns None if it is not kept."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, kept: Kept) -> None:
        """Keeps an entry, and drops those that have not been used for the longest time."""
        if key in self._entries:
            self.bytes -= self._entries.pop(key).nbytes
        if kept.nbytes > self.most:
            return
        self._entries[key] = kept
        self.bytes += kept.nbytes
        while self.bytes > self.most:
            self.bytes -= self._entries.popitem(last=False)[1].nbytes
