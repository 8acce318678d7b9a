"""A dispatcher's looks at the markers of unfinished jobs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import pytest
from google.cloud import storage

from grainserve.jobs.markers import Markers, Ticket
from grainserve.storage.bucket import Bucket, Found


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
    """The number of calls does not grow with the markers: `pending/` is never read whole."""
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


# By hand: a bucket of names, and chance that does as it is told -------------------------------------------------------


class Names:
    """A stand-in for a bucket; it records how many names were asked for."""

    def __init__(self, **ids: list[str]) -> None:
        self.names = sorted(f"pending/{submitter}/{each}" for submitter, all_its in ids.items() for each in all_its)
        self.asked: list[int | None] = []

    def folders(self, prefix: str) -> list[str]:
        return sorted({name.removeprefix(prefix).split("/")[0] for name in self.names})

    def entries(self, prefix: str, *, start: str = "", limit: int | None = None) -> Iterator[Found]:
        self.asked.append(limit)
        there = [name for name in self.names if name.startswith(prefix) and name >= start]
        return iter([Found(name, 7, NOW, 0) for name in there[:limit]])


class Chance:
    """A random source that keeps an order and draws a given place."""

    def __init__(self, place: int) -> None:
        self.place = place

    def shuffle(self, order: list[str]) -> None:
        pass

    def randrange(self, end: int) -> int:
        assert end == 0x10000, "as many places as four digits tell apart"
        return self.place


NOW = datetime(2026, 11, 21, tzinfo=UTC)
IDS = [f"{first:x}" + "0" * 31 for first in range(16)]


def found(names: Names, count: int, place: int = 0) -> list[str]:
    markers = Markers(names, Chance(place))  # type: ignore[arg-type]
    return [ticket.image_id for ticket in markers.some(count)]


def test_a_look_goes_from_its_place_to_the_end_and_on_from_the_beginning() -> None:
    """The place is four hexadecimal digits: e000 is before the fifteenth of sixteen ids, e001 after it."""
    assert found(Names(lab=IDS), 5, 0xE000) == [*IDS[14:], *IDS[:3]]
    assert found(Names(lab=IDS), 5, 0xE001) == [*IDS[15:], *IDS[:4]]
    assert found(Names(lab=IDS), 5, 0x0001) == IDS[1:6]
    assert found(Names(lab=IDS), 99, 0x8000) == [*IDS[8:], *IDS[:8]], "none twice"


def test_a_page_that_is_full_needs_no_second_call() -> None:
    names = Names(lab=IDS)
    assert found(names, 8, 0x8000) == IDS[8:]
    assert names.asked == [8]
    assert found(names, 9, 0x8000) == [*IDS[8:], IDS[0]]
    assert names.asked == [8, 9, 9]


@pytest.mark.parametrize(("count", "each"), [(12, 6), (13, 7), (14, 7), (8, 4), (7, 4), (1, 4)])
def test_each_submitter_is_asked_for_its_share_rounded_up_and_for_four_at_least(count: int, each: int) -> None:
    names = Names(lab=IDS, other=IDS)
    assert len(found(names, count)) == 2 * each
    assert names.asked == [each, each]


def test_what_is_listed_is_a_submitters_or_everybodys_and_up_to_a_limit(bucket: Bucket) -> None:
    lab, other = mark(bucket, "lab", 3), mark(bucket, "other", 2)
    markers = Markers(bucket)
    made = markers.made(100)
    assert {ticket for ticket, _ in made} == lab | other
    assert [ticket.marker for ticket, _ in made] == sorted(ticket.marker for ticket, _ in made)
    assert all(ticket.generation for ticket, _ in made)
    assert {ticket for ticket, _ in markers.made(100, "other")} == other
    assert len(markers.made(4)) == 4
    assert markers.count(100, "other") == 2


def test_a_name_that_is_no_marker_is_no_ticket() -> None:
    names = Names(lab=[IDS[0], "a b", ""])
    names.names += [f"pending//{IDS[1]}", f"pending/{IDS[2]}"]
    assert [ticket.image_id for ticket in Markers(names).all()] == [IDS[0]]  # type: ignore[arg-type]
    assert Markers(names).made(9) == [(Ticket("lab", IDS[0]), NOW)]  # type: ignore[arg-type]
