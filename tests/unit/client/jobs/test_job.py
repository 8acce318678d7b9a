"""Records of jobs: read back as written, damaged ones told."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from grainserve.errors import InvalidJob
from grainserve.jobs.job import Failure, Job, Lease
from tests.unit.client.jobs.test_store import DIED, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_job_record_reads_back(clock: Clock) -> None:
    job = Job("x", "lab", "sam_tiny", "1.0", {"label": "grään"}, created=clock())
    for each in (
        job,
        job.attempt_failed(DIED, clock()),
        job.failed(Failure("a", "b", 413)),
        job.postponed(DIED, clock()),
    ):
        assert Job.from_json(each.to_json()) == each


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"imageId": 3}'])
def test_a_damaged_record_is_told(data: bytes) -> None:
    with pytest.raises(InvalidJob):
        Job.from_json(data)


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2026-11-21T04:00:00"},
        {"notBefore": "2026-11-21T04:00:00"},
        {"modellessSince": "2026-11-21"},
        {"lease": {"owner": "one", "expires": "2026-11-21T04:00:00"}},
        {"lease": {"owner": "one", "expires": 1}},
        {"attempts": "3"},
        {"imageId": 3},
        {"options": []},
        {"lease": "none"},
    ],
)
def test_a_record_with_a_wrong_value_is_told(clock: Clock, change: dict[str, object]) -> None:
    record = json.loads(Job("x", "lab", "sam_tiny", "1.0", {}, created=clock()).to_json())
    with pytest.raises(InvalidJob):
        Job.from_json(json.dumps(record | change).encode())


def test_times_centuries_away_hold_nobody_up_for_as_long(clock: Clock) -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    job = Job("x", "lab", "sam_tiny", "1.0", {}, created=clock())
    assert replace(job, not_before=far).claimable_in(clock()) == 0
    leased = job.claimed(Lease("one", far)).claimable_in(clock())
    assert 0 < leased <= threading.TIMEOUT_MAX
