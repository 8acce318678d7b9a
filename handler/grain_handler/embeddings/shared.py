"""Embeddings that workers share in Redis. Redis never makes a request fail, nor wait for longer than 50 ms.

Every fault of Redis counts as a miss and is reported: `Told` is called with the outcome.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, Protocol

from grain_handler.embeddings.kept import DamagedError, Kept, read, write

logger = logging.getLogger(__name__)

SECONDS = 0.05
"""Time limit of a look, s."""
PAUSE_SECONDS = 5.0
"""Time without looks and writes after a fault, s: a Redis that is away would cost each request its 50 ms."""
WRITE_SECONDS = 2.0
"""Time limit of a write, s."""
TTL_SECONDS = 3600
"""Life of an entry since it was last asked for, s."""
MOST_BYTES = 16 * 2**20
"""Size limit of an entry, bytes; the largest that occur have 6 MiB."""
PREFIX = "grainserve:embedding:"

Outcome = Literal["hit", "miss", "slow", "away", "damaged", "stored", "dropped"]
Told = Callable[[Outcome], None]


class Client(Protocol):
    """The part of redis-py's client that is used."""

    def pipeline(self, transaction: bool = True) -> Any:
        """Begins commands that are sent together."""

    def set(self, name: str, value: bytes, ex: int) -> Any:
        """Stores a value for some seconds."""


class Shared:
    """Embeddings in Redis.

    Args:
        reader: client for looks; its own time limits are about `SECONDS`.
        writer: client for writes.
        faults: errors that the clients raise.
        told: callback with the outcome of each look and write.
    """

    def __init__(self, reader: Client, writer: Client, faults: tuple[type[Exception], ...], told: Told) -> None:
        self.reader, self.writer, self.faults, self.told = reader, writer, faults, told
        self._readers = ThreadPoolExecutor(1, "redis-reader")
        self._writers = ThreadPoolExecutor(1, "redis-writer")
        self._writing: Future[None] | None = None
        self._not_before = 0.0

    def get(self, keys: Sequence[str]) -> dict[str, Kept]:
        """Returns those of some entries that Redis has; each then lives for another `TTL_SECONDS`."""
        if not keys or time.monotonic() < self._not_before:
            return {}
        look = self._readers.submit(self._look, keys)
        try:
            values = look.result(SECONDS)
        except TimeoutError as error:  # ours, or the client's, which may be the same class
            look.cancel()
            return self._failed("slow", error)
        except self.faults as error:
            return self._failed("away", error)
        found = {}
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.told("miss")
                continue
            try:
                found[key] = read(key, value)
            except DamagedError as error:
                logger.warning("a kept embedding cannot be read: %s", error)
                self.told("damaged")
            else:
                self.told("hit")
        return found

    def put(self, key: str, kept: Kept) -> None:
        """Stores an entry in the background; drops it if the one before is still being stored."""
        busy = self._writing is not None and not self._writing.done()
        if busy or kept.nbytes > MOST_BYTES or time.monotonic() < self._not_before:
            self.told("dropped")
            return
        self._writing = self._writers.submit(self._store, key, kept)

    def close(self) -> None:
        """Waits for looks and writes that are under way."""
        for each in (self._readers, self._writers):
            each.shutdown()

    def _look(self, keys: Sequence[str]) -> list[bytes | None]:
        pipeline = self.reader.pipeline(transaction=False)
        for key in keys:
            pipeline.getex(PREFIX + key, ex=TTL_SECONDS)
        values: list[bytes | None] = pipeline.execute()
        return values

    def _store(self, key: str, kept: Kept) -> None:
        data = write(key, kept)
        if data is None:
            self.told("dropped")
            return
        try:
            self.writer.set(PREFIX + key, data, ex=TTL_SECONDS)
        except self.faults as error:
            self._failed("away", error)
        else:
            self.told("stored")

    def _failed(self, outcome: Outcome, error: Exception) -> dict[str, Kept]:
        logger.warning("Redis is left alone for %g s: %s", PAUSE_SECONDS, type(error).__name__)
        self._not_before = time.monotonic() + PAUSE_SECONDS
        self.told(outcome)
        return {}


def connect(url: str, told: Told) -> Shared:
    """Makes the clients of the Redis at a URL (`redis://`, `rediss://`, `unix://`); sends nothing yet.

    Raises:
        ValueError: the URL is no such URL.
    """
    # Only a worker that shares embeddings needs redis-py.
    import redis  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    # By default redis-py retries for seconds.
    once = Retry(NoBackoff(), 0)
    reader = redis.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=once)
    writer = redis.Redis.from_url(url, socket_timeout=WRITE_SECONDS, socket_connect_timeout=SECONDS, retry=once)
    return Shared(reader, writer, (redis.RedisError, OSError), told)
