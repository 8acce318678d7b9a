"""The embeddings that one worker keeps in its memory."""

from __future__ import annotations

from collections import OrderedDict

from grain_handler.embeddings.kept import Kept


class InProcess:
    """The entries that were asked for last, as many as a number of bytes holds.

    Args:
        mib: That number, MiB; 0 keeps nothing.
    """

    def __init__(self, mib: int) -> None:
        self.most = mib * 2**20
        self.bytes = 0
        self._entries: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Kept | None:
        """An entry, which is then the last to go."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: str, kept: Kept) -> None:
        """Keeps an entry, in the place of those that nobody has asked for the longest."""
        if key in self._entries:
            self.bytes -= self._entries.pop(key).nbytes
        if kept.nbytes > self.most:
            return
        self._entries[key] = kept
        self.bytes += kept.nbytes
        while self.bytes > self.most:
            self.bytes -= self._entries.popitem(last=False)[1].nbytes
