"""The time that jobs are expected to take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grainserve.gateway import pace as pacing
from grainserve.gateway.pace import Pace
from grainserve.jobs.job import Job

START = datetime(2026, 12, 1, tzinfo=UTC)


def job(image_id: str, created: float = 0.0) -> Job:
    return Job(image_id, "lab", "m", None, {}, after(created))


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ended(pace: Pace, image_id: str, seconds: float, position: int = 1) -> None:
    pace.expected(job(image_id), position, START)
    pace.ended(image_id, after(seconds))


def test_nothing_is_expected_before_a_job_was_seen_to_end() -> None:
    pace = Pace()
    assert pace.expected(job("a"), 1, after(5)) is None
    pace.ended("b", after(9))  # it ended unseen
    assert pace.expected(job("a"), 1, after(10)) is None


def test_a_job_is_expected_to_take_as_long_as_others_for_each_place_in_the_queue() -> None:
    pace = Pace()
    ended(pace, "a", 30, position=3)
    ended(pace, "b", 10)
    ended(pace, "c", 500)  # one that waited for something else
    assert pace.expected(job("d", created=100), 4, after(102)) == 42.0
    assert pace.expected(job("e", created=100), 0, after(102)) == 12.0


def test_what_is_expected_stays_as_it_was_told() -> None:
    pace = Pace()
    ended(pace, "a", 10)
    first = pace.expected(job("b"), 2, START)
    ended(pace, "c", 90)
    assert pace.expected(job("b"), 1, after(15)) == first == 20.0


def test_few_jobs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "WATCHED", 2)
    pace = Pace()
    for image_id in "abc":
        pace.expected(job(image_id), 1, START)
    pace.ended("a", after(10))  # forgotten
    assert pace.expected(job("b"), 1, START) is None
    pace.ended("c", after(10))
    assert pace.expected(job("b"), 1, START) == 10.0
