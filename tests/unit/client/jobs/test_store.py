"""The job protocol with the real emulator and a clock that the test moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import storage

from grainserve.errors import (
    ImageNotFound,
    InvalidJob,
    InvalidResult,
    JobFailed,
    ResultNotFound,
    StorageError,
)
from grainserve.jobs.job import MAX_ATTEMPTS, Failure, Job, State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.records import LeaseLost
from grainserve.jobs.store import Claim, JobStore, Later
from grainserve.storage import retries as tries
from grainserve.storage.bucket import Bucket, PreconditionFailed
from tests.unit.client.made import make_result

Names = Callable[[], set[str]]
DIED = Failure("worker_died", "the worker died")


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket: Bucket, clock: Clock) -> JobStore:
    return JobStore(bucket, now=clock)


def submit(store: JobStore, key: str | None = None, image: bytes = b"image", submitter: str = "lab") -> str:
    options = {"um_per_px": 2.5}
    return store.submit(image, model="sam_tiny", version=None, options=options, submitter=submitter, key=key)


def claim(store: JobStore, image_id: str, owner: str = "one") -> Claim | Later | None:
    return store.claim(Ticket("lab", image_id), owner)


def pending(store: JobStore) -> list[str]:
    return [ticket.image_id for ticket in store.pending.all()]


def claimed(store: JobStore, image_id: str, owner: str = "one") -> Claim:
    taken = claim(store, image_id, owner)
    assert isinstance(taken, Claim)
    return taken


def die_after(writes: int, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the store's process die after it has created a number of objects."""
    real = store.bucket.create
    done: list[str] = []

    def create(name: str, data: bytes, content_type: str) -> int:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(name)
        return real(name, data, content_type)

    monkeypatch.setattr(store.bucket, "create", create)


def test_submit_stores_image_job_and_marker(store: JobStore, names: Names) -> None:
    image_id = submit(store)
    assert names() == {f"images/{image_id}", f"jobs/{image_id}.json", f"pending/lab/{image_id}"}
    assert store.image(image_id) == b"image"
    assert pending(store) == [image_id]
    job = store.job(image_id)
    assert (job.state, job.attempts, job.options, job.lease) == (State.QUEUED, 0, {"um_per_px": 2.5}, None)
    assert store.poll(image_id) is None


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_crash_in_submit_leaves_no_marker(
    store: JobStore, names: Names, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    die_after(writes, store, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        submit(store)
    assert [name.split("/")[0] for name in sorted(names())] == ["images", "jobs"][:writes]
    assert pending(store) == []


def test_of_many_dispatchers_one_gets_the_job(store: JobStore, bucket_name: str, clock: Clock) -> None:
    image_id = submit(store)
    stores = [JobStore(Bucket(bucket_name), now=clock) for _ in range(12)]
    barrier = threading.Barrier(len(stores))

    def race(number: int) -> Claim | Later | None:
        barrier.wait()
        return claim(stores[number], image_id, f"owner-{number}")

    with ThreadPoolExecutor(len(stores)) as pool:
        outcomes = list(pool.map(race, range(len(stores))))
    winners = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    assert len(winners) == 1
    assert all(isinstance(outcome, Claim | Later) for outcome in outcomes)
    job = store.job(image_id)
    assert job == winners[0].job
    assert job.attempts == 1


def test_a_lease_holds_until_it_expires_then_another_takes_over(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    first = claimed(store, image_id)
    assert claim(store, image_id, "two") == Later(store.lease.total_seconds())
    clock.forward(store.lease.total_seconds() - 1)
    assert isinstance(claim(store, image_id, "two"), Later)
    clock.forward(1)
    second = claimed(store, image_id, "two")
    assert second.job.attempts == 2
    with pytest.raises(LeaseLost):
        store.renew(first)


def test_a_renewed_lease_is_not_taken_over(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    for _ in range(5):
        clock.forward(store.lease.total_seconds() * 0.9)
        taken = store.renew(taken)
        assert isinstance(claim(store, image_id, "two"), Later)
    assert store.job(image_id).attempts == 1


def test_finish_stores_the_result_ends_the_job_and_drops_the_marker(store: JobStore, names: Names) -> None:
    image_id = submit(store)
    store.finish(claimed(store, image_id), make_result(image_id))
    assert store.poll(image_id) == make_result(image_id)
    assert store.job(image_id).state is State.DONE
    assert names() == {f"images/{image_id}", f"jobs/{image_id}.json", f"results/{image_id}.json"}
    assert claim(store, image_id, "two") is None


def test_the_first_result_stays_and_the_second_is_no_error(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    slow = claimed(store, image_id)
    clock.forward(store.lease.total_seconds())
    fast = claimed(store, image_id, "two")
    first, second = make_result(image_id), make_result(image_id, masks=[])
    store.finish(slow, first)  # it lost its lease, but its result is as good
    store.finish(fast, second)
    assert store.poll(image_id) == first
    assert store.job(image_id).state is State.DONE
    assert pending(store) == []


def test_results_in_a_race_are_written_once(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    stores = [JobStore(Bucket(bucket_name)) for _ in range(8)]
    generations = set()
    barrier = threading.Barrier(len(stores))

    def race(number: int) -> None:
        result = make_result(image_id)
        result["metadata"]["processTime"] = float(number)
        barrier.wait()
        stores[number].finish(taken, result)
        blob = gcs.bucket(bucket_name).get_blob(f"results/{image_id}.json")
        generations.add(blob.generation)

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(race, range(len(stores))))
    assert len(generations) == 1


def test_failed_attempts_wait_longer_each_time_and_the_third_fails_the_job(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    waits = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        taken = claimed(store, image_id)
        job = store.attempt_failed(taken, DIED)
        assert job.attempts == attempt
        if attempt < MAX_ATTEMPTS:
            later = claim(store, image_id, "two")
            assert isinstance(later, Later)
            waits.append(later.seconds)
            assert store.poll(image_id) is None
            clock.forward(later.seconds)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    with pytest.raises(JobFailed, match="the worker died") as failure:
        store.poll(image_id)
    assert (failure.value.code, failure.value.attempts) == ("worker_died", 3)
    assert pending(store) == []
    assert claim(store, image_id, "two") is None


def test_a_rejection_fails_at_once(store: JobStore) -> None:
    image_id = submit(store)
    store.reject(claimed(store, image_id), Failure("image_too_large", "over 1024 px", 413))
    with pytest.raises(JobFailed) as failure:
        store.poll(image_id)
    assert (failure.value.code, failure.value.status, failure.value.attempts) == ("image_too_large", 413, 1)
    assert pending(store) == []


def test_release_gives_the_attempt_back(store: JobStore) -> None:
    image_id = submit(store)
    for _ in range(MAX_ATTEMPTS + 2):
        job = store.release(claimed(store, image_id))
        assert (job.state, job.attempts, job.lease) == (State.QUEUED, 0, None)


def test_an_image_whose_dispatchers_all_die_fails_in_the_end(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    for _ in range(MAX_ATTEMPTS):
        claimed(store, image_id)
        clock.forward(store.lease.total_seconds())
    assert claim(store, image_id, "four") is None
    with pytest.raises(JobFailed, match="3 attempts began") as failure:
        store.poll(image_id)
    assert failure.value.code == "attempts_exhausted"


def test_who_lost_the_lease_cannot_fail_the_job(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    slow = claimed(store, image_id)
    clock.forward(store.lease.total_seconds())
    fast = claimed(store, image_id, "two")
    for too_late in (store.attempt_failed, store.reject):
        assert too_late(slow, DIED) == fast.job
    assert store.release(slow) == fast.job
    assert store.job(image_id) == fast.job
    store.finish(fast, make_result(image_id))
    assert store.poll(image_id) is not None


def test_a_death_after_the_result_is_mended_without_working_again(
    store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_end", lambda _: None)  # dies here
        store.finish(taken, make_result(image_id))
    assert store.poll(image_id) is None, "a job is done when its record says so"
    clock.forward(store.lease.total_seconds())
    assert claim(store, image_id, "two") is None
    assert store.job(image_id).state is State.DONE
    assert pending(store) == []


def test_a_death_before_the_marker_is_dropped_is_mended(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_drop_marker", lambda _: None)
        store.finish(taken, make_result(image_id))
    assert pending(store) == [image_id]
    assert claim(store, image_id, "two") is None
    assert pending(store) == []


def test_a_write_whose_answer_was_lost_still_counts_as_ours(
    store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store)
    real = store.bucket.replace

    def replace(name: str, data: bytes, content_type: str, generation: int) -> int:
        real(
            name, data, content_type, generation
        )  # the request arrives, the answer is lost, and the library sends it again
        return real(name, data, content_type, generation)

    monkeypatch.setattr(store.bucket, "replace", replace)
    taken = claimed(store, image_id)
    store.renew(Claim(taken.job, taken.generation))
    assert isinstance(claim(store, image_id, "two"), Later)


def test_a_marker_without_a_job_is_cleared(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    image_id = submit(store)
    gcs.bucket(bucket_name).blob(f"jobs/{image_id}.json").delete()
    assert claim(store, image_id, "one") is None
    assert pending(store) == []
    with pytest.raises(ImageNotFound):
        store.poll(image_id)


def test_a_deleted_result_is_told(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    image_id = submit(store)
    store.finish(claimed(store, image_id), make_result(image_id))
    gcs.bucket(bucket_name).blob(f"results/{image_id}.json").delete()
    with pytest.raises(ResultNotFound, match="submit the image again"):
        store.poll(image_id)


@pytest.mark.parametrize("stored", [b"[" + b"[]," * 200_000 + b"0]", b"[" * 100_000, b"null", b"\xff"])
def test_what_is_stored_and_is_no_result_is_told(
    store: JobStore, gcs: storage.Client, bucket_name: str, stored: bytes
) -> None:
    image_id = submit(store)
    store.finish(claimed(store, image_id), make_result(image_id))
    gcs.bucket(bucket_name).blob(f"results/{image_id}.json").upload_from_string(stored)
    with pytest.raises(InvalidResult, match="is no result"):
        store.poll(image_id)


def test_foreign_names_under_pending_are_passed_over(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    image_id = submit(store)
    for name in ("pending/a", "pending/lab/a b", "pending/lab/"):
        gcs.bucket(bucket_name).blob(name).upload_from_string(b"")
    assert pending(store) == [image_id]


def test_bucket_writes_hold_to_generations(bucket_name: str) -> None:
    bucket = Bucket(bucket_name)
    first = bucket.create("x", b"1", "text/plain")
    with pytest.raises(PreconditionFailed):
        bucket.create("x", b"2", "text/plain")
    second = bucket.replace("x", b"3", "text/plain", first)
    with pytest.raises(PreconditionFailed):
        bucket.replace("x", b"4", "text/plain", first)
    stored = bucket.read("x")
    assert stored is not None
    assert (stored.data, stored.generation) == (b"3", second)
    bucket.delete("x", second)
    bucket.delete("x", second)
    assert bucket.read("x") is None


# What has ended stays as it ended -------------------------------------------------------------------------------------


def test_a_result_that_comes_after_the_failure_is_dropped(store: JobStore, clock: Clock, names: Names) -> None:
    """It comes from a dispatcher that was held up past its lease, while others tried in vain."""
    image_id = submit(store)
    asleep = claimed(store, image_id)
    clock.forward(store.lease.total_seconds())
    store.reject(claimed(store, image_id, "two"), DIED)
    store.finish(asleep, make_result(image_id))
    with pytest.raises(JobFailed):
        store.poll(image_id)
    assert names() == {f"images/{image_id}", f"jobs/{image_id}.json"}


def test_a_result_of_a_deleted_job_is_dropped(store: JobStore, names: Names) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    store.delete(image_id)
    assert names() == set()
    store.finish(taken, make_result(image_id))
    assert names() == set()
    with pytest.raises(ImageNotFound):
        store.poll(image_id)


def test_delete_leaves_nothing_of_a_job_that_is_done(store: JobStore, names: Names) -> None:
    image_id = submit(store)
    store.finish(claimed(store, image_id), make_result(image_id))
    store.delete(image_id)
    assert names() == set()
    with pytest.raises(ImageNotFound):
        store.delete(image_id)


@pytest.mark.parametrize("end", ["reject", "attempt_failed"])
def test_a_job_whose_result_is_there_does_not_fail(store: JobStore, names: Names, end: str) -> None:
    """The dispatcher that wrote it died before it ended the job; failure and result must not both stay."""
    image_id = submit(store)
    for _ in range(MAX_ATTEMPTS - 1):
        store.attempt_failed(claimed(store, image_id), DIED)
        store.now.forward(60)  # type: ignore[attr-defined]
    taken = claimed(store, image_id)
    result = make_result(image_id)
    store.bucket.create(f"results/{image_id}.json", json.dumps(result).encode(), "application/json")
    assert getattr(store, end)(taken, DIED).state is State.DONE
    assert store.poll(image_id) == result
    assert pending(store) == []


# Records that are not what their names say ----------------------------------------------------------------------------


def test_a_record_under_another_id_is_no_job(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    """`gsutil cp` or a restore makes such a record."""
    image_id, other = submit(store), "f" * 32
    bucket = gcs.bucket(bucket_name)
    bucket.copy_blob(bucket.blob(f"jobs/{image_id}.json"), bucket, f"jobs/{other}.json")
    for act in (store.job, store.cancel, store.delete, lambda other: claim(store, other)):
        with pytest.raises(InvalidJob, match="is that of"):
            act(other)
    claimed(store, image_id)


@pytest.mark.parametrize("act", ["claim", "cancel", "delete", "finish"])
def test_a_change_that_is_lost_again_and_again_is_given_up(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    image_id, pauses = submit(store), list[float]()
    taken = claimed(store, submit(store))

    def lose(*_: object) -> int:
        raise LeaseLost("another was first")

    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(store._records, "swap", lose)
    acts: dict[str, Callable[[], object]] = {
        "claim": lambda: claim(store, image_id),
        "cancel": lambda: store.cancel(image_id),
        "delete": lambda: store.delete(image_id),
        "finish": lambda: store.finish(taken, {}),
    }
    with pytest.raises(StorageError, match="in a row"):
        acts[act]()
    assert len(pauses) == tries.MOST - 1
    assert all(pause <= tries.LONGEST for pause in pauses)
    assert pauses[-1] > pauses[0]


# A job that nobody delivers -------------------------------------------------------------------------------------------

UNDELIVERABLE = Failure("undeliverable", "no dispatcher got the job")


def given_up(store: JobStore, image_id: str) -> Job:
    store.give_up(Ticket("lab", image_id), UNDELIVERABLE)
    return store.job(image_id)


def test_a_job_that_is_given_up_has_failed_and_lost_its_marker(store: JobStore) -> None:
    image_id = submit(store)
    job = given_up(store, image_id)
    assert (job.state, job.error) == (State.FAILED, UNDELIVERABLE)
    assert pending(store) == []


def test_a_job_that_is_given_up_keeps_the_error_that_it_has(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    later = store.attempt_failed(claimed(store, image_id), DIED).claimable_in(clock())
    clock.forward(later)
    assert given_up(store, image_id).error == DIED


def test_a_job_is_given_up_from_the_instant_on_at_which_it_may_be_claimed(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    held = claimed(store, image_id).job
    clock.forward(store.lease.total_seconds() - 0.5)
    assert given_up(store, image_id) == held
    assert pending(store) == [image_id]
    clock.forward(0.5)
    assert given_up(store, image_id).state is State.FAILED


def test_a_job_that_has_ended_or_is_gone_is_not_given_up(
    store: JobStore, gcs: storage.Client, bucket_name: str
) -> None:
    done, gone = submit(store), submit(store)
    store.finish(claimed(store, done), make_result(done))
    gcs.bucket(bucket_name).blob(f"results/{done}.json").delete()
    assert given_up(store, done).state is State.DONE
    store.delete(gone)
    with pytest.raises(ImageNotFound):
        given_up(store, gone)


def test_a_job_that_somebody_claims_meanwhile_is_not_given_up(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = submit(store)
    read = store._records.read

    def claim_after_reading(image_id: str) -> tuple[Job, int]:
        found = read(image_id)
        monkeypatch.undo()
        claimed(store, image_id)
        return found

    monkeypatch.setattr(store._records, "read", claim_after_reading)
    assert given_up(store, image_id).state is State.RUNNING


def test_a_lease_is_a_minute_unless_said_otherwise(store: JobStore, clock: Clock) -> None:
    lease = claimed(store, submit(store)).job.lease
    assert lease is not None
    assert lease.expires - clock() == timedelta(minutes=1)
