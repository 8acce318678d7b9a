"""Digests of uploaded images: bounded, and those asked for last stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from grainserve.gateway.segmenter import Digests
from grainserve.jobs.job import Job

WHEN = datetime(2026, 11, 30, tzinfo=UTC)


def job(image_id: str) -> Job:
    return Job(image_id, "lab", "sam_tiny", None, {}, created=WHEN)


def test_digests_are_bounded_and_those_asked_for_last_stay() -> None:
    known = Digests(most=2)
    for name in "ab":
        known.put(job(name), name)
    assert known.get(job("a")) == "a"
    known.put(job("c"), "c")
    assert [known.get(job(name)) for name in "abc"] == ["a", None, "c"]


def test_an_id_that_was_given_again_is_another_image() -> None:
    known = Digests()
    known.put(job("a"), "a")
    assert known.get(replace(job("a"), created=WHEN + timedelta(seconds=1))) is None
