"""A bucket in memory, for tests of stored objects rather than of storage; a test compares it with the emulator."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from grainserve.errors import StorageError
from grainserve.storage.bucket import PART, Bucket, Found, Opened, PreconditionFailed, Stored
from grainserve.storage.clock import ServerClock


@dataclass(frozen=True)
class _Object:
    data: bytes
    generation: int
    written: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)

    def found(self, name: str) -> Found:
        return Found(name, self.generation, self.written, len(self.data), self.metadata)


class _OwnClock(ServerClock):
    """A storage clock that is this machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class MemoryBucket(Bucket):
    """Objects with generations in a dictionary. Any number of threads may use one."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.clock = _OwnClock()
        self._objects: dict[str, _Object] = {}
        self._generations = itertools.count(1)
        self._lock = threading.Lock()

    def read(self, name: str) -> Stored | None:
        found = self._objects.get(name)
        # HTTP's dates are whole seconds.
        return None if found is None else Stored(found.data, found.generation, found.written.replace(microsecond=0))

    def open(self, name: str) -> Opened | None:
        found = self._objects.get(name)
        return None if found is None else Opened(len(found.data), self._parts_of(name, found))

    def _parts_of(self, name: str, opened: _Object) -> Iterator[bytes]:
        for start in range(0, len(opened.data), PART):
            if self._objects.get(name) is not opened:
                raise StorageError(f"{name} was deleted or replaced while it was read")
            yield opened.data[start : start + PART]

    def read_part(self, found: Found, start: int, end: int) -> bytes | None:
        there = self._objects.get(found.name)
        return there.data[start:end] if there and there.generation == found.generation else None

    def copy(self, source: Bucket, found: Found, name: str, content_type: str) -> int | None:
        assert isinstance(source, MemoryBucket)
        there = source._objects.get(found.name)
        if there is None or there.generation != found.generation:
            return None
        return self.create(name, there.data, content_type)

    def find(self, name: str) -> Found | None:
        found = self._objects.get(name)
        return None if found is None else found.found(name)

    def delete(self, name: str, generation: int) -> None:
        with self._lock:
            if (found := self._objects.get(name)) and found.generation == generation:
                del self._objects[name]

    def entries(self, prefix: str, *, start: str = "", end: str = "", limit: int | None = None) -> Iterator[Found]:
        with self._lock:
            there = sorted(self._objects.items())
        chosen = (
            stored.found(name)
            for name, stored in there
            if name.startswith(prefix) and name >= start and not (end and name >= end)
        )
        yield from itertools.islice(chosen, limit)

    def folders(self, prefix: str) -> list[str]:
        after = (name.removeprefix(prefix) for name in self._objects if name.startswith(prefix))
        return sorted({rest.partition("/")[0] for rest in after if "/" in rest})

    def check_room(self) -> None:
        """Does nothing, since there is always room."""

    def _write(
        self, name: str, data: bytes, content_type: str, generation: int, metadata: Mapping[str, str] | None = None
    ) -> int:
        with self._lock:
            there = self._objects.get(name)
            if (there.generation if there else 0) != generation:
                raise PreconditionFailed(f"{name} is not at generation {generation}")
            made = _Object(bytes(data), next(self._generations), datetime.now(UTC), dict(metadata or {}))
            self._objects[name] = made
            return made.generation
