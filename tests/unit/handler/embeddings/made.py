"""Kept embeddings, and a Redis in this process."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch

from grain_handler.embeddings.kept import Kept
from grain_handler.sam.automask import Embedding
from grain_handler.wire.image import DecodedImage


def kept(seed: int = 0, side: int = 8, *, maps: bool = True) -> Kept:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (side, side + 1, 3), dtype=np.uint8)
    tokens = torch.from_numpy(rng.standard_normal((1, 4, 6, 6), dtype=np.float32))
    seeds = torch.from_numpy(rng.standard_normal((5, 7, 7), dtype=np.float32)) if maps else None
    return Kept(DecodedImage(pixels, "PNG", "RGB", 77, ("é",)), Embedding(tokens, seeds))


class AwayError(Exception):
    """What the fake raises."""


class FakeRedis:
    """What `Shared` uses of redis-py."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.expires: dict[str, int] = {}
        self.away = False
        self.looks = 0
        self.hold = threading.Event()
        """Looks wait for this."""
        self.hold.set()

    def pipeline(self, transaction: bool = True) -> FakePipeline:
        assert not transaction
        return FakePipeline(self)

    def set(self, name: str, value: bytes, ex: int) -> None:
        if self.away:
            raise AwayError
        self.values[name], self.expires[name] = value, ex


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self.redis, self.keys = redis, list[tuple[str, int]]()

    def getex(self, name: str, ex: int) -> None:
        self.keys.append((name, ex))

    def execute(self) -> list[Any]:
        self.redis.looks += 1
        self.redis.hold.wait()
        if self.redis.away:
            raise AwayError
        self.redis.expires |= {name: ex for name, ex in self.keys if name in self.redis.values}
        return [self.redis.values.get(name) for name, _ in self.keys]
