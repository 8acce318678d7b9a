from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from grain_handler.embeddings import shared
from grain_handler.embeddings.cache import EmbeddingCache
from grain_handler.embeddings.key import key_of
from grain_handler.embeddings.shared import Shared
from grain_handler.sam.automask import Embedding
from grain_handler.wire.image import DecodedImage
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request, digest_of
from tests.unit.handler.embeddings.made import AwayError, FakeRedis
from tests.unit.handler.scenes import noise


def request(seed: int, options: Options | None = None, tenant: str = "") -> Request:
    image = DecodedImage(noise(20, 30, seed), "PNG", "RGB", 1)
    return Request("x", image, options or Options(), image_digest=digest_of(image.pixels).hex(), tenant=tenant)


class Workers:
    """Workers that share a fake Redis."""

    def __init__(self) -> None:
        self.redis, self.told, self.computed = FakeRedis(), list[tuple[str, int]](), list[int]()
        self.shared = list[Shared]()

    def new(self, model: str = "tiny fp32 crc") -> EmbeddingCache:
        self.shared.append(Shared(self.redis, self.redis, (AwayError,), lambda _outcome: None))
        return EmbeddingCache(model, torch.device("cpu"), 8, self.shared[-1], lambda *told: self.told.append(told))

    def compute(self, requests: Sequence[Request]) -> list[Embedding]:
        self.computed.append(len(requests))
        return [Embedding(torch.full((1, 2, 3, 3), float(each.pixels[0, 0, 0])), None) for each in requests]

    def embed(self, cache: EmbeddingCache, *requests: Request) -> list[float]:
        made = cache.embed(requests, self.compute)
        for each in self.shared:
            if each._writing:
                each._writing.result()
        return [embedding.tokens[0, 0, 0, 0].item() for embedding in made]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(shared, "SECONDS", 60.0)
    workers = Workers()
    yield workers
    for each in workers.shared:
        each.close()


def value(asked: Request) -> float:
    return float(asked.pixels[0, 0, 0])


def test_an_image_is_encoded_once(workers: Workers) -> None:
    first, second = request(1), request(2)
    cache = workers.new()
    assert workers.embed(cache, first, second, first) == [value(first), value(second), value(first)]
    assert workers.embed(cache, second) == [value(second)]
    assert workers.computed == [2]
    assert workers.told == [("computed", 2), ("process", 1)]


def test_another_worker_finds_it_in_redis_and_then_in_itself(workers: Workers) -> None:
    workers.embed(workers.new(), request(1))
    other = workers.new()
    assert workers.embed(other, request(1)) == workers.embed(other, request(1)) == [value(request(1))]
    assert workers.told == [("computed", 1), ("redis", 1), ("process", 1)]


def test_without_redis_it_is_encoded_again(workers: Workers) -> None:
    workers.embed(workers.new(), request(1))
    workers.redis.away = True
    assert workers.embed(workers.new(), request(1)) == [value(request(1))]
    assert workers.computed == [1, 1]


def test_an_image_is_found_by_its_digest(workers: Workers) -> None:
    asked = request(1, Options(crop="1,2,9,9"), "lab-a")
    workers.embed(workers.new(), asked)
    for cache in (workers.new(), workers.new()):
        found = cache.find(asked.image_digest, asked.options, "lab-a")
        assert found is not None
        assert (found.pixels == asked.image.pixels).all()
        assert cache.find(asked.image_digest, Options(), "lab-a") is None
        assert cache.find(asked.image_digest, asked.options, "lab-b") is None
        assert cache.find("0" * 64, asked.options, "lab-a") is None


def test_what_makes_an_embedding_is_in_its_key() -> None:
    given = ("d", Options(), "lab", "tiny fp32 crc")
    others = [
        ("e", *given[1:]),
        ("d", Options(crop="0,0,9,9"), *given[2:]),
        ("d", Options(ignore_bottom=3), *given[2:]),
        ("d", Options(), "lab2", "tiny fp32 crc"),
        ("d", Options(), "lab", "tiny bf16 crc"),
    ]
    assert len({key_of(*each) for each in [given, *others]}) == 6
    assert key_of(*given) == key_of("d", Options(min_area=9, points="seeds"), "lab", "tiny fp32 crc")


def test_a_kept_embedding_does_not_hold_its_batch(workers: Workers) -> None:
    cache, batch = workers.new(), torch.zeros(4, 2, 3, 3)

    def views(requests: Sequence[Request]) -> list[Embedding]:
        return [Embedding(batch[i : i + 1], None) for i in range(len(requests))]

    cache.embed([request(i) for i in range(4)], views)
    batch += 1
    (again,) = cache.embed([replace(request(0), image_id="again")], views)
    assert (again.tokens == 0).all()
