"""The index that answers listings in the benchmark of long queues lists as GCS does, and counts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from benchmarks.machinery.meter import IndexedMeter
from grainserve.jobs.markers import Markers
from grainserve.storage.bucket import Bucket

# 1,100 for the first lab: more than a page.
NAMES = [f"pending/lab-{lab}/{number:032x}" for lab, count in (("a", 1100), ("b", 3)) for number in range(count)]


@pytest.fixture
def meter() -> Iterator[IndexedMeter]:
    with IndexedMeter("http://127.0.0.1:9", random.Random(0).sample(NAMES, len(NAMES))) as meter:
        yield meter


@pytest.fixture
def bucket(meter: IndexedMeter) -> Bucket:
    options = {"api_endpoint": meter.url}
    return Bucket("jobs", storage.Client("p", AnonymousCredentials(), client_options=options))


def test_listing_brings_all_names_in_order_page_by_page(meter: IndexedMeter, bucket: Bucket) -> None:
    assert list(bucket.names("pending/")) == sorted(NAMES)
    assert (meter.charged["list"], meter.listed) == (2, len(NAMES))


@pytest.mark.parametrize(
    ("start", "limit", "expected"),
    [
        ("", 2, NAMES[1100:1102]),
        (NAMES[1101], None, NAMES[1101:]),
        ("pending/lab-b/f", 5, []),
        (NAMES[0], 1, NAMES[1100:1101]),
    ],
)
def test_listing_begins_at_a_name_and_ends_with_the_prefix(
    bucket: Bucket, start: str, limit: int | None, expected: list[str]
) -> None:
    assert list(bucket.names("pending/lab-b/", start=start, limit=limit)) == expected


def test_folders_are_the_submitters(bucket: Bucket) -> None:
    assert bucket.folders("pending/") == ["lab-a", "lab-b"]


def test_a_look_brings_jobs_of_both(bucket: Bucket) -> None:
    found = list(Markers(bucket, random.Random(1)).some(8))
    assert {ticket.submitter for ticket in found} == {"lab-a", "lab-b"}
    assert len(found) == 4 + 3
