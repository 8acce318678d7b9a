"""Submissions by reference: what is read of an object, what is refused, and what a second submission does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from grainserve.errors import IdempotencyConflict, ImageRejected, InvalidUri, NotReadable, ObjectNotFound
from grainserve.jobs.job import Failure, State
from grainserve.jobs.references import BEGINNING, Reference, References
from grainserve.jobs.store import Claim, JobStore
from grainserve.storage.bucket import Found
from grainserve.storage.uris import Readable
from tests.unit.client.memory_bucket import MemoryBucket

PIXELS = np.random.default_rng(3).integers(0, 256, (400, 300, 3), dtype=np.uint8)
JOB: dict[str, Any] = {"model": "sam_tiny", "version": None, "options": {"min_area": 7}, "submitter": "lab"}


class Scans(MemoryBucket):
    """A bucket of images that counts the bytes read."""

    def __init__(self) -> None:
        super().__init__("scans")
        self.bytes_read = 0

    def put(self, name: str, data: bytes) -> None:
        there = self.find(name)
        self._write(name, data, "image/tiff", there.generation if there else 0)

    def read_part(self, found: Found, start: int, end: int) -> bytes | None:
        part = super().read_part(found, start, end)
        self.bytes_read += len(part or b"")
        return part


@pytest.fixture
def scans() -> Scans:
    return Scans()


@pytest.fixture
def references(scans: Scans) -> References:
    return References(Readable.parse("scans"), lambda _: scans)


def encoded(kind: str, pixels: np.ndarray = PIXELS, **how: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def at_end() -> bytes:
    """Makes a TIFF whose directory lies behind its pixels, as libtiff writes it."""
    data = encoded("TIFF", compression="tiff_lzw")
    place = int.from_bytes(data[4:8], "little")
    assert place > len(data) - BEGINNING
    return data


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: encoded("PNG"), BEGINNING),
        (lambda: encoded("BMP"), BEGINNING),
        (lambda: encoded("JPEG", np.tile(PIXELS, (2, 2, 1)), quality=100), BEGINNING),
        (lambda: encoded("TIFF"), 2 * BEGINNING),
        (at_end, 2 * BEGINNING),
    ],
    ids=["png", "bmp", "jpeg", "tiff", "tiff, directory at the end"],
)
def test_only_the_header_of_an_object_is_read(
    scans: Scans, references: References, make: Callable[[], bytes], most: int
) -> None:
    data = make()
    assert len(data) > 2 * BEGINNING
    scans.put("a", data)
    assert references.find("gs://scans/a").check().startswith("image/")
    assert scans.bytes_read == most


def test_a_file_whose_header_lies_deeper_is_read_whole(scans: Scans, references: References) -> None:
    webp = encoded("WEBP", np.tile(PIXELS, (2, 2, 1)), lossless=True)
    assert len(webp) > 2 * BEGINNING
    profile = encoded("JPEG", np.tile(PIXELS, (2, 2, 1)), quality=100, icc_profile=bytes(3 * BEGINNING))
    for data, kind in ((webp, "image/webp"), (profile, "image/jpeg")):
        scans.put("a", data)
        assert references.find("gs://scans/a").check() == kind


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (400, "empty_body")),
        (b"no image" * 50_000, (415, "not_an_image")),
        (encoded("PNG", np.zeros((4, 1025), np.uint8)), (413, "image_too_large")),
        (encoded("TIFF", np.zeros((1025, 400), np.uint8)), (413, "image_too_large")),
        (encoded("TIFF", PIXELS, save_all=True, append_images=[Image.fromarray(PIXELS)]), (415, "multiple_pages")),
        (encoded("PNG")[:20], (415, "truncated_image")),
        (encoded("PNG") + bytes(2**20), (413, "too_many_bytes")),
    ],
)
def test_what_is_no_image_to_measure_is_refused_and_nothing_is_stored(
    scans: Scans, references: References, store: JobStore, data: bytes, expected: tuple[int, str]
) -> None:
    scans.put("a", data)
    with pytest.raises(ImageRejected) as refused:
        store.submit_reference(references.find("gs://scans/a"), max_bytes=2**20, **JOB)
    assert (refused.value.status, refused.value.code) == expected
    assert list(store.bucket.names("")) == []


def test_a_refusal_that_the_beginning_shows_reads_no_more(scans: Scans, references: References) -> None:
    for data in (b"no image" * 50_000, encoded("PNG", np.tile(PIXELS, (3, 3, 1)))):
        scans.put("a", data)
        scans.bytes_read = 0
        with pytest.raises(ImageRejected):
            references.find("gs://scans/a").check()
        assert scans.bytes_read == BEGINNING


def test_an_object_becomes_a_job_with_a_copy_of_the_image(
    scans: Scans, references: References, store: JobStore
) -> None:
    scans.put("2026/a.png", encoded("PNG"))
    found = references.find("gs://scans/2026/a.png")
    image_id = store.submit_reference(found, **JOB)
    job = store.job(image_id)
    assert job.source == f"gs://scans/2026/a.png#{found.found.generation}"
    assert (job.options, job.state) == (JOB["options"], State.QUEUED)
    assert store.image(image_id) == encoded("PNG")
    assert [ticket.image_id for ticket in store.pending.all()] == [image_id]


def test_a_second_submission_copies_nothing(scans: Scans, references: References, store: JobStore) -> None:
    scans.put("a", encoded("PNG"))
    first = store.submit_reference(references.find("gs://scans/a"), **JOB)
    image = store.bucket.find(f"images/{first}")
    scans.bytes_read = 0
    assert store.submit_reference(references.find("gs://scans/a"), **JOB) == first
    assert store.bucket.find(f"images/{first}") == image
    assert scans.bytes_read == 0
    assert store.pending.count(10, "lab") == 1


def test_another_generation_model_version_or_option_is_another_submission(
    scans: Scans, references: References, store: JobStore
) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    changes: list[dict[str, Any]] = [
        {},
        {"model": "sam_vit_b"},
        {"version": "2"},
        {"options": {}},
        {"submitter": "other"},
    ]
    ids = {store.submit_reference(found, **(JOB | change)) for change in changes}
    scans.put("a", encoded("PNG"))
    ids.add(store.submit_reference(references.find("gs://scans/a"), **JOB))
    assert len(ids) == len(changes) + 1


def test_a_submission_that_died_is_completed(scans: Scans, references: References, store: JobStore) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    first = store.submit_reference(found, **JOB)
    marker = store.bucket.find(f"pending/lab/{first}")
    assert marker is not None
    store.bucket.delete(marker.name, marker.generation)
    assert store.submit_reference(found, **JOB) == first
    assert store.pending.count(10, "lab") == 1
    store.delete(first)
    assert store.submit_reference(found, **JOB) == first
    assert store.image(first) == encoded("PNG")


def fail(store: JobStore, why: Failure) -> None:
    """Fails the only job that is pending."""
    (ticket,) = store.pending.all()
    claim = store.claim(ticket, "dispatcher")
    assert isinstance(claim, Claim)
    store.reject(claim, why)


@pytest.mark.parametrize("why", ["cancelled", Failure("worker_died", "it died"), Failure("x", "y", 500)])
def test_a_job_that_failed_begins_anew_under_its_id(
    scans: Scans, references: References, store: JobStore, why: str | Failure
) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    image_id = store.submit_reference(found, **JOB)
    if isinstance(why, Failure):
        fail(store, why)
    else:
        assert store.cancel(image_id)
    assert store.job(image_id).state is State.FAILED
    assert store.submit_reference(found, **JOB) == image_id
    assert store.job(image_id).state is State.QUEUED
    assert store.image(image_id) == encoded("PNG")
    assert store.pending.count(10, "lab") == 1


def test_a_job_whose_image_was_refused_stays_failed(scans: Scans, references: References, store: JobStore) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    image_id = store.submit_reference(found, **JOB)
    fail(store, Failure("truncated_image", "it is cut short", 415))
    assert store.submit_reference(found, **JOB) == image_id
    assert store.job(image_id).state is State.FAILED


def test_a_key_of_ones_own_holds_one_object(scans: Scans, references: References, store: JobStore) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    image_id = store.submit_reference(found, key="A17", **JOB)
    assert store.submit_reference(found, key="A17", **JOB) == image_id
    assert store.submit_reference(found, **JOB) != image_id
    assert store.cancel(image_id)
    assert store.submit_reference(found, key="A17", **JOB) == image_id
    assert store.job(image_id).state is State.FAILED
    scans.put("a", encoded("PNG"))
    with pytest.raises(IdempotencyConflict):
        store.submit_reference(references.find("gs://scans/a"), key="A17", **JOB)


def test_an_object_that_is_replaced_meanwhile_is_not_measured_unchecked(
    scans: Scans, references: References, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    scans.put("a", b"something else")
    with pytest.raises(ObjectNotFound, match="replaced"):
        store.submit_reference(found, **JOB)
    scans.put("a", encoded("PNG"))
    found = references.find("gs://scans/a")
    checked = Reference.check

    def check_and_replace(reference: Reference, max_bytes: int) -> str:
        kind = checked(reference, max_bytes)
        scans.put("a", b"something else")
        return kind

    monkeypatch.setattr(Reference, "check", check_and_replace)
    with pytest.raises(ObjectNotFound, match="replaced"):
        store.submit_reference(found, **JOB)
    assert list(store.bucket.names("images/")) == list(store.bucket.names("jobs/")) == []


def test_patterns_list_objects_in_order(scans: Scans, references: References) -> None:
    for name in ("b/2.tif", "b/1.tif", "b/1.png", "b/c/3.tif", "d.tif"):
        scans.put(name, b"x")
    names = [each.uri for each in references.matching("gs://scans/b/*.tif")]
    assert names == ["gs://scans/b/1.tif", "gs://scans/b/2.tif"]
    assert [each.found.name for each in references.matching("gs://scans/b/c/3.tif")] == ["b/c/3.tif"]
    for unknown in ("gs://scans/e.tif", "gs://scans/e/*.tif"):
        with pytest.raises(ObjectNotFound):
            references.matching(unknown)


def test_nothing_else_is_asked_for(references: References) -> None:
    with pytest.raises(NotReadable):
        references.matching("gs://other/*.tif")
    with pytest.raises(InvalidUri):
        references.find("scans/a.tif")
