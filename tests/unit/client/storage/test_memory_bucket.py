"""The bucket in memory gives the emulator's answers to any requests in any order."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import storage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grainserve.errors import BucketNotFound, StorageError
from grainserve.storage.bucket import PART, Bucket, PreconditionFailed
from tests.faults.proxy import Proxy
from tests.unit.client.memory_bucket import MemoryBucket

NAMES = ["jobs/a.json", "jobs/b.json", "jobs/b/c", "pending/lab/a", "pending/other/b", "x"]
PREFIXES = ["", "jobs/", "jobs/b", "pending/", "none/"]


class _Pair:
    """The answers of both buckets to a call, with generations numbered by their order."""

    def __init__(self, buckets: tuple[Bucket, Bucket]) -> None:
        self.buckets = buckets
        self.numbers: tuple[dict[int, int], dict[int, int]] = ({0: 0}, {0: 0})

    def known(self, side: int, generation: int) -> int:
        return self.numbers[side].setdefault(generation, len(self.numbers[side]))

    def real(self, side: int, known: int) -> int:
        return next((real for real, mine in self.numbers[side].items() if mine == known), 12345)

    def both(self, call: Callable[[Bucket, int], Any]) -> None:
        answers = []
        for side, bucket in enumerate(self.buckets):
            try:
                answers.append(call(bucket, side))
            except PreconditionFailed as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    def write(self, name: str, data: bytes, known: int) -> None:
        def call(bucket: Bucket, side: int) -> int:
            if known == 0:
                made = bucket.create(name, data, "text/plain")
            else:
                made = bucket.replace(name, data, "text/plain", self.real(side, known))
            return self.known(side, made)

        self.both(call)

    def read(self, name: str) -> None:
        def call(bucket: Bucket, side: int) -> Any:
            stored, found, opened = bucket.read(name), bucket.find(name), bucket.open(name)
            assert bucket.exists(name) == (stored is not None)
            if stored is None or found is None or opened is None:
                return stored, found, opened
            assert stored.written is not None
            assert abs((found.written - stored.written).total_seconds()) <= 1
            assert stored.generation == found.generation
            return stored.data, self.known(side, stored.generation), found.name, opened.size, b"".join(opened.parts)

        self.both(call)

    def delete(self, name: str, known: int) -> None:
        self.both(lambda bucket, side: bucket.delete(name, self.real(side, known)))

    def list(self, prefix: str, start: str, end: str, limit: int | None) -> None:
        def call(bucket: Bucket, side: int) -> Any:
            entries = list(bucket.entries(prefix, start=start, end=end, limit=limit))
            assert list(bucket.names(prefix, start=start, limit=limit))[: len(entries)] == [e.name for e in entries]
            return [(each.name, self.known(side, each.generation)) for each in entries], bucket.folders(prefix)

        self.both(call)


STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.binary(max_size=9), st.integers(0, 8)),
    st.tuples(st.just("read"), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.integers(1, 8)),
    st.tuples(
        st.just("list"),
        st.sampled_from(PREFIXES),
        st.sampled_from(["", *NAMES]),
        st.sampled_from(["", *NAMES]),
        st.sampled_from([None, 1, 2]),
    ),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=5, max_size=25))
def test_it_answers_what_the_emulator_answers(gcs: storage.Client, proxy: Proxy, steps: list[tuple[Any, ...]]) -> None:
    """It goes through the proxy, which checks the generation of deletions, as GCS does and the emulator does not."""
    name = f"test-{uuid.uuid4().hex}"
    gcs.create_bucket(name)
    pair = _Pair((Bucket(name), MemoryBucket()))
    for what, *arguments in steps:
        getattr(pair, what)(*arguments)
    for each in NAMES:
        pair.read(each)


def test_an_object_that_is_replaced_while_it_is_read_is_told(bucket_name: str) -> None:
    for bucket in (Bucket(bucket_name), MemoryBucket()):
        generation = bucket.create("image", bytes(PART + 1), "image/png")
        opened = bucket.open("image")
        assert opened is not None
        assert len(next(opened.parts)) == PART
        bucket.replace("image", b"other", "image/png", generation)
        with pytest.raises(StorageError, match="while it was read"):
            next(opened.parts)


def test_both_tell_a_time_that_is_not_ahead(bucket_name: str) -> None:
    for bucket in (Bucket(bucket_name), MemoryBucket()):
        bucket.create("x", b"", "text/plain")
        found = bucket.find("x")
        assert found is not None
        assert abs((bucket.clock.now() - found.written).total_seconds()) < 60


def test_both_read_parts_and_copy_the_generation_that_was_found(
    gcs: storage.Client, bucket_name: str, names: Callable[[], set[str]]
) -> None:
    other = f"test-{uuid.uuid4().hex}"
    gcs.create_bucket(other)
    for source, bucket in ((Bucket(other), Bucket(bucket_name)), (MemoryBucket("a"), MemoryBucket("b"))):
        generation = source.create("folder/a b.tif", b"0123456789", "image/x-own")
        (found,) = source.entries("folder/")
        assert source.find("folder/a b.tif") == found
        assert (found.generation, found.size) == (generation, 10)
        assert source.read_part(found, 3, 5) == b"34"
        copied = bucket.copy(source, found, "images/1", "image/tiff")
        stored = bucket.read("images/1")
        assert stored is not None
        assert (stored.data, stored.generation) == (b"0123456789", copied)
        source.replace("folder/a b.tif", b"other", "image/tiff", generation)
        assert source.read_part(found, 3, 5) is None
        assert bucket.copy(source, found, "images/2", "image/tiff") is None
        assert list(bucket.names("images/")) == ["images/1"]
    assert gcs.bucket(bucket_name).get_blob("images/1").content_type == "image/tiff"


def test_a_copy_into_a_bucket_that_is_missing_is_told(gcs: storage.Client, bucket_name: str) -> None:
    source = Bucket(bucket_name)
    source.create("a", b"x", "image/tiff")
    (found,) = source.entries("")
    with pytest.raises(BucketNotFound):
        Bucket("no-such-bucket").copy(source, found, "images/1", "image/tiff")
