"""Records of jobs: read back as written; damaged records are reported."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from grainserve.errors import InvalidJob
from grainserve.jobs.job import Failure, Job, Lease, State
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


# A job's life, step by step -------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
NEW = Job("x", "lab", "sam_tiny", None, {"um_per_px": 2.5}, created=NOW)
LEASE = Lease("one", NOW + MINUTE)
RUNNING = NEW.claimed(LEASE)


def test_a_claim_counts_an_attempt_and_ends_the_wait() -> None:
    waiting = replace(NEW, attempts=1, not_before=NOW)
    assert waiting.claimed(LEASE) == replace(NEW, state=State.RUNNING, attempts=2, lease=LEASE)


def test_a_renewed_lease_has_its_owner_and_another_end() -> None:
    assert RUNNING.renewed(NOW + HOUR) == replace(RUNNING, lease=Lease("one", NOW + HOUR))


def test_a_lease_is_cut_to_the_latest_end() -> None:
    assert RUNNING.held_until(NOW + MINUTE).lease == LEASE
    assert RUNNING.held_until(NOW + HOUR).lease == LEASE
    assert RUNNING.held_until(NOW + SECOND).lease == Lease("one", NOW + SECOND)
    assert NEW.held_until(NOW) == NEW


def test_a_released_job_has_its_attempt_back_and_never_less_than_none() -> None:
    assert RUNNING.released() == NEW
    assert replace(RUNNING, attempts=3).released().attempts == 2
    assert replace(RUNNING, attempts=0).released().attempts == 0


def test_failed_attempts_wait_one_second_then_two_and_the_third_is_the_last() -> None:
    job = RUNNING
    for seconds in (1, 2):
        job = job.attempt_failed(DIED, NOW)
        assert (job.state, job.lease, job.error, job.not_before) == (State.QUEUED, None, DIED, NOW + seconds * SECOND)
        job = job.claimed(LEASE)
    assert job.attempts == 3
    job = job.attempt_failed(DIED, NOW)
    assert (job.state, job.lease, job.error, job.not_before) == (State.FAILED, None, DIED, None)


def test_a_job_whose_model_is_missing_is_tried_every_half_minute_for_an_hour() -> None:
    job = RUNNING.postponed(DIED, NOW)
    assert (job.state, job.attempts, job.error, job.lease) == (State.QUEUED, 0, DIED, None)
    assert (job.modelless_since, job.not_before) == (NOW, NOW + 30 * SECOND)
    last = NOW + HOUR - SECOND
    again = job.claimed(LEASE).postponed(DIED, last)
    assert (again.state, again.modelless_since, again.not_before) == (State.QUEUED, NOW, last + 30 * SECOND)
    assert again.claimed(LEASE).postponed(DIED, NOW + HOUR).state is State.FAILED
    assert again.claimed(LEASE).attempt_failed(DIED, NOW).modelless_since is None


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        (NEW, 0),
        (replace(NEW, not_before=NOW + MINUTE), 60),
        (replace(NEW, not_before=NOW - MINUTE), -60),
        (replace(NEW, not_before=NOW + 5 * MINUTE), 300),
        (replace(NEW, not_before=NOW + 5 * MINUTE + SECOND), 0),
        (RUNNING, 60),
        (replace(RUNNING, not_before=NOW + 2 * MINUTE), 60),
        (RUNNING.renewed(NOW + HOUR), 3600),
        (RUNNING.renewed(NOW + 2 * HOUR), 3600),
        (replace(RUNNING, lease=None), 0),
        (replace(NEW, lease=LEASE), 0),
    ],
)
def test_a_job_may_be_claimed_when_its_wait_or_its_lease_is_over(job: Job, seconds: float) -> None:
    assert job.claimable_in(NOW) == seconds


@pytest.mark.parametrize(
    ("job", "stage"),
    [
        (NEW, "queued"),
        (replace(NEW, not_before=NOW), "queued"),
        (replace(NEW, not_before=NOW + SECOND), "delayed"),
        (RUNNING, "running"),
        (RUNNING.renewed(NOW), "abandoned"),
        (RUNNING.done(), "done"),
        (RUNNING.failed(DIED), "failed"),
        (replace(RUNNING.failed(DIED), not_before=NOW + SECOND), "failed"),
    ],
)
def test_the_stage_of_a_job_is_said(job: Job, stage: str) -> None:
    assert job.stage(NOW) == stage
    assert job.ended == (stage in ("done", "failed"))


def test_a_job_that_is_done_has_neither_lease_nor_error() -> None:
    job = replace(RUNNING, error=DIED, not_before=NOW, modelless_since=NOW)
    assert job.done() == replace(NEW, state=State.DONE, attempts=1)
    assert job.failed(DIED) == replace(NEW, state=State.FAILED, attempts=1, error=DIED, modelless_since=NOW)


def test_a_record_holds_all_of_a_job() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job = replace(RUNNING, not_before=NOW, error=Failure("a", "b"), modelless_since=NOW, traceparent=trace)
    assert Job.from_json(job.to_json()) == job
    assert Job.from_json(NEW.to_json()) == NEW
    assert "0af7651916cd43dd8448eb211c80319c" in job.about
    assert NEW.about == "image x"
    old = json.loads(NEW.to_json())
    del old["modellessSince"], old["traceparent"]
    assert Job.from_json(json.dumps(old).encode()) == NEW
    assert "grään".encode() in replace(NEW, model="grään").to_json(), "as people read it"


def test_a_number_that_is_none_is_in_no_record() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(NEW, options={"um_per_px": math.nan}).to_json()
