"""Records changed by compare-and-swap: a dispatcher's own renewals, and changes by others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grainserve.errors import ImageNotFound, InvalidConfiguration, StorageError
from grainserve.jobs.job import LONGEST_LEASE, Job, Lease
from grainserve.jobs.records import LeaseLost, Records
from grainserve.jobs.store import Claim, JobStore, Later
from grainserve.storage.bucket import Bucket, PreconditionFailed, Stored
from tests.unit.client.jobs.test_store import DIED, Clock, claim, claimed, submit


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket: Bucket, clock: Clock) -> JobStore:
    return JobStore(bucket, now=clock)


@pytest.mark.parametrize("change", ["renew", "release", "attempt_failed", "reject", "postpone"])
def test_a_renewal_whose_answer_was_lost_does_not_cost_the_lease(store: JobStore, clock: Clock, change: str) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    clock.forward(1)
    store.renew(taken)  # the dispatcher knows only `taken`
    clock.forward(1)
    what = getattr(store, change)(taken, *([DIED] if change in ("attempt_failed", "reject", "postpone") else []))
    if change == "renew":
        assert store.renew(what).job == store.job(image_id)
    else:
        assert what == store.job(image_id)
        assert what.lease is None


def test_a_claim_does_not_take_what_its_owner_renews_meanwhile(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    first = claimed(store, image_id)
    clock.forward(store.lease.total_seconds())
    read = store.bucket.read

    def renew_after_reading(name: str) -> Stored | None:
        stored = read(name)
        store.bucket.read = read  # type: ignore[method-assign]
        store.renew(first)
        return stored

    store.bucket.read = renew_after_reading  # type: ignore[method-assign]
    assert isinstance(claim(store, image_id, "two"), Later)


def test_a_lease_of_a_clock_gone_wrong_holds_for_the_longest_lease_since_it_was_written(
    store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store)
    clock.forward(1_000_000)
    claimed(store, image_id)
    clock.forward(-1_000_000)
    longest, written = LONGEST_LEASE.total_seconds(), datetime.now(UTC)
    held = claim(store, image_id, "two")
    assert isinstance(held, Later)
    assert longest - 60 < held.seconds <= longest
    assert store.job(image_id).lease.expires <= clock() + LONGEST_LEASE  # type: ignore[union-attr]
    monkeypatch.setattr(store.bucket.clock, "now", lambda: written + LONGEST_LEASE + timedelta(seconds=2))
    taken = claim(store, image_id, "two")  # whatever the record says
    assert isinstance(taken, Claim)
    assert taken.job.attempts == 2


def test_a_lease_that_others_would_not_honour_is_refused(bucket_name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="1:00:00 at most"):
        JobStore(Bucket(bucket_name), lease=LONGEST_LEASE + timedelta(seconds=1))


# By hand: a bucket of one record --------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
RUNNING = Job("x", "lab", "sam_tiny", None, {}, created=NOW).claimed(Lease("one", NOW + timedelta(days=3)))


class One:
    """A stand-in for a bucket with at most one record; `rivals` are writes by others in between."""

    name = "bucket"

    def __init__(self, job: Job | None, *, written: datetime | None = NOW, generation: int = 5) -> None:
        self.stored = None if job is None else Stored(job.to_json(), generation, written)
        self.rivals: list[Job] = []
        self.there: bool | None = None
        self.replaced = 0
        self.clock = self

    def now(self) -> datetime:
        """GCS's time, ten minutes after the record was written."""
        return NOW + 10 * MINUTE

    def read(self, name: str) -> Stored | None:
        return self.stored

    def exists(self, name: str) -> bool:
        return self.stored is not None if self.there is None else self.there

    def replace(self, name: str, data: bytes, content_type: str, generation: int) -> int:
        self.replaced += 1
        if self.rivals:
            self.stored = Stored(self.rivals.pop(0).to_json(), (self.stored.generation if self.stored else 0) + 1)
        if self.stored is None or self.stored.generation != generation:
            raise PreconditionFailed(name)
        self.stored = Stored(data, generation + 1)
        return generation + 1


def records(bucket: One) -> Records:
    return Records(bucket, lambda: NOW + 2 * HOUR)  # type: ignore[arg-type]


def end_of_lease(written: datetime | None) -> datetime:
    job, generation = records(One(RUNNING, written=written)).read("x")
    assert generation == 5
    assert job.lease is not None
    return job.lease.expires


def test_a_lease_ends_an_hour_after_its_record_was_written_at_the_latest() -> None:
    """The record is ten minutes old by GCS's time, while the reader's clock is two hours ahead."""
    assert end_of_lease(NOW) == NOW + 2 * HOUR + 50 * MINUTE


def test_a_record_whose_age_is_not_known_or_negative_counts_as_new() -> None:
    assert end_of_lease(None) == NOW + 3 * HOUR
    assert end_of_lease(NOW + HOUR) == NOW + 3 * HOUR


def test_a_lease_that_ends_before_stays_as_it_is() -> None:
    soon = RUNNING.renewed(NOW + 2 * HOUR + MINUTE)
    assert records(One(soon)).read("x") == (soon, 5)


def test_a_record_that_two_questions_do_not_find_is_none() -> None:
    with pytest.raises(ImageNotFound):
        records(One(None)).read("x")
    hidden = One(None)
    hidden.there = True
    with pytest.raises(StorageError, match=r"jobs/x\.json in bucket 'bucket' is there and cannot be read"):
        records(hidden).read("x")


def test_a_record_is_written_over_its_generation() -> None:
    bucket = One(RUNNING)
    assert records(bucket).swap(RUNNING.done(), 5) == 6
    assert bucket.stored is not None
    assert Job.from_json(bucket.stored.data) == RUNNING.done()


def test_a_write_that_has_met_itself_counts() -> None:
    bucket = One(RUNNING.done(), generation=6)
    assert records(bucket).swap(RUNNING.done(), 5) == 6
    assert bucket.replaced == 1


@pytest.mark.parametrize(
    ("there", "lease"),
    [
        (None, RUNNING.lease),  # deleted
        (RUNNING.renewed(NOW), None),  # perhaps ours, but it names no lease
        (RUNNING.released(), RUNNING.lease),  # given back
        (RUNNING.claimed(Lease("two", NOW)), RUNNING.lease),
    ],
)
def test_a_record_that_another_changed_is_not_written_over(there: Job | None, lease: Lease | None) -> None:
    bucket = One(there, generation=7)
    before = bucket.stored
    with pytest.raises(LeaseLost):
        records(bucket).swap(RUNNING.done(), 5, lease)
    assert (bucket.stored, bucket.replaced) == (before, 1)


def test_renewals_of_ours_whose_answers_were_lost_are_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    bucket = One(RUNNING)
    bucket.rivals = [RUNNING.renewed(NOW + HOUR), RUNNING.renewed(NOW + 2 * HOUR)]
    assert records(bucket).swap(RUNNING.done(), 5, RUNNING.lease) == 8
    assert (bucket.replaced, len(pauses)) == (3, 2)
