"""Looks at the markers of unfinished jobs."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from google.cloud import storage

from grainserve.jobs.markers import Markers, Ticket
from grainserve.storage.bucket import Bucket


def mark(bucket: Bucket, submitter: str, count: int) -> set[Ticket]:
    chance = random.Random(submitter)
    tickets = {Ticket(submitter, f"{chance.getrandbits(128):032x}") for _ in range(count)}
    for ticket in tickets:
        bucket.create(ticket.marker, b"", "text/plain")
    return tickets


def test_few_are_all_seen(bucket: Bucket) -> None:
    pending = Markers(bucket)
    assert list(pending.some(8)) == []
    tickets = mark(bucket, "lab", 5) | mark(bucket, "other", 2)
    seen = list(pending.some(20))
    assert set(seen) == tickets
    assert len(seen) == len(tickets), "none twice"
    assert set(pending.all()) == tickets
    assert (pending.count(100), pending.count(100, "lab"), pending.count(3), pending.count(9, "nobody")) == (7, 5, 3, 0)


def test_each_submitter_gets_as_many(bucket: Bucket) -> None:
    mark(bucket, "lab", 60)
    few = mark(bucket, "other", 2)
    seen = list(Markers(bucket).some(12))
    assert few <= set(seen)
    assert sum(ticket.submitter == "lab" for ticket in seen) == 6


def test_looks_differ_and_reach_every_job(bucket: Bucket) -> None:
    tickets = mark(bucket, "lab", 60)
    looks = [set(Markers(bucket, random.Random(seed)).some(6)) for seed in range(80)]
    assert all(len(look) == 6 for look in looks)
    assert set().union(*looks) == tickets


def test_a_look_costs_a_call_for_the_submitters_and_one_or_two_for_each(
    bucket: Bucket, gcs: storage.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one for each thousand markers there are: `pending/` is never read whole."""
    mark(bucket, "lab", 60)
    calls = []
    bucket.client._http.hooks["response"].append(lambda response, *_, **__: calls.append(response.url))
    assert len(list(Markers(bucket).some(6))) == 6
    assert len(calls) <= 3
    assert all("maxResults=6" in call for call in calls if "delimiter" not in call)


def test_of_many_submitters_only_as_many_are_asked_for_as_it_takes(bucket_name: str, bucket: Bucket) -> None:
    submitters = {f"lab-{number}" for number in range(9)}
    for submitter in submitters:
        mark(bucket, submitter, 6)
    calls: list[str] = []
    bucket.client._http.hooks["response"].append(lambda response, *_, **__: calls.append(response.url))
    pending = Markers(bucket)
    seen = [{ticket.submitter for ticket in islice(pending.some(8), 8)} for _ in range(40)]
    assert all(len(look) == 2 for look in seen), "four jobs of each"
    assert set().union(*seen) == submitters, "others each time"
    assert len(calls) <= 5 * len(seen)
    assert len(list(pending.some(8))) == 36, "who asks on gets to all of them"
