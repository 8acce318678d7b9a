"""Dispatchers against the emulator and an imitation of TorchServe."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import storage

from grainserve.dispatch.dispatcher import GLANCE, JOBS, Dispatcher
from grainserve.errors import JobFailed, StorageUnreachable, TorchServeBusy
from grainserve.jobs import job as jobs
from grainserve.jobs.job import Lease, State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.faults.proxy import Proxy
from tests.unit.client.fake_torchserve import (
    BUSY,
    HANG_UP,
    NO_MODEL,
    PREDICTION_FAILED,
    TOO_LARGE,
    WORKER_DIED,
    Answer,
    FakeTorchServe,
)
from tests.unit.client.made import make_result
from tests.unit.client.storage.test_bucket import PAGE


def submit(store: JobStore) -> str:
    return store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")


def pending(store: JobStore) -> list[str]:
    return [ticket.image_id for ticket in store.pending.all()]


@contextmanager
def dispatching(
    store: JobStore, torchserve: FakeTorchServe, *, concurrency: int = 1, listing_interval: float = 0.05
) -> Iterator[Dispatcher]:
    server = TorchServe(torchserve.url, management=None)
    dispatcher = Dispatcher(
        store, server, concurrency=concurrency, listing_interval=listing_interval, backoff=(0.01, 0.02)
    )
    with dispatcher:
        yield dispatcher


def until(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds; the test's own time limit ends a wait in vain."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.02)


def ended(store: JobStore, image_id: str) -> bool:
    return store.job(image_id).state in (State.DONE, State.FAILED) and not pending(store)


@pytest.fixture
def quick_store(bucket: Bucket) -> JobStore:
    """A store whose clock runs a thousand times faster, so that pauses between attempts pass at once."""
    begun = datetime.now(UTC)
    return JobStore(
        bucket,
        lease=timedelta(hours=1),
        now=lambda: begun + (datetime.now(UTC) - begun) * 1000,
    )


def test_pending_jobs_are_found_and_done(store: JobStore, torchserve: FakeTorchServe) -> None:
    ids = [submit(store) for _ in range(4)]
    with dispatching(store, torchserve, concurrency=2):
        until(lambda: all(ended(store, image_id) for image_id in ids))
    assert sorted(body["imageId"] for _, body in torchserve.requests) == sorted(ids)


def test_several_dispatchers_do_each_job_once(store: JobStore, bucket_name: str, torchserve: FakeTorchServe) -> None:
    ids = [submit(store) for _ in range(10)]
    with (
        dispatching(store, torchserve, concurrency=2),
        dispatching(JobStore(Bucket(bucket_name)), torchserve, concurrency=2),
        dispatching(JobStore(Bucket(bucket_name)), torchserve, concurrency=2),
    ):
        until(lambda: all(ended(store, image_id) for image_id in ids))
    assert sorted(body["imageId"] for _, body in torchserve.requests) == sorted(ids)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (WORKER_DIED, "worker_died"),
        (PREDICTION_FAILED, "InternalServerException"),
        (HANG_UP, "answer_lost"),
    ],
    ids=["worker died", "handler failed", "answer lost"],
)
def test_three_failed_attempts_fail_the_job(
    quick_store: JobStore, torchserve: FakeTorchServe, answer: Answer, code: str
) -> None:
    torchserve.script = [answer] * 5
    image_id = submit(quick_store)
    with dispatching(quick_store, torchserve):
        until(lambda: ended(quick_store, image_id))
    assert len(torchserve.requests) == 3
    with pytest.raises(JobFailed) as failure:
        quick_store.poll(image_id)
    assert (failure.value.code, failure.value.attempts) == (code, 3)


def test_exchanged_answers_are_failed_attempts_and_no_results(
    quick_store: JobStore, torchserve: FakeTorchServe
) -> None:
    one, two = submit(quick_store), submit(quick_store)
    other = {one: two, two: one}
    exchanged = set()

    def result(body: dict[str, Any]) -> bytes:
        image_id = body["imageId"]
        first = image_id not in exchanged
        exchanged.add(image_id)
        return json.dumps(make_result(other[image_id] if first else image_id)).encode()

    torchserve.result = result  # type: ignore[method-assign]
    with dispatching(quick_store, torchserve):
        until(lambda: ended(quick_store, one) and ended(quick_store, two))
    for image_id in (one, two):
        assert quick_store.result(image_id)["metadata"]["imageId"] == image_id
        assert quick_store.job(image_id).attempts == 2


def test_an_answer_that_is_too_much_is_a_failed_attempt(quick_store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [(200, b"[" + b"[]," * 200_000 + b"0]")]
    image_id = submit(quick_store)
    with dispatching(quick_store, torchserve):
        until(lambda: ended(quick_store, image_id))
    assert quick_store.result(image_id)["metadata"]["imageId"] == image_id
    assert quick_store.job(image_id).attempts == 2


def test_half_a_letter_in_an_answer_burns_no_attempt(store: JobStore, torchserve: FakeTorchServe) -> None:
    image_id = submit(store)
    result = make_result(image_id)
    result["metadata"]["warnings"] = ["half \ud83d"]
    torchserve.script = [(200, json.dumps(result).encode())]
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert (store.job(image_id).state, store.job(image_id).attempts) == (State.DONE, 1)
    assert store.result(image_id)["metadata"]["warnings"] == ["half ?"]


def test_a_model_that_torchserve_forgot_is_waited_for(
    store: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried more often than attempts may fail."""
    monkeypatch.setattr(jobs, "MODEL_PAUSE", timedelta(seconds=0.05))
    torchserve.script = [NO_MODEL] * 6
    image_id = submit(store)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    job = store.job(image_id)
    assert (job.state, job.attempts, job.modelless_since) == (State.DONE, 1, None)
    assert len(torchserve.requests) == 7


def test_a_model_that_does_not_come_back_fails_the_job(
    store: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MODEL_PAUSE", timedelta(seconds=0.05))
    monkeypatch.setattr(jobs, "MODEL_PATIENCE", timedelta(seconds=0.5))
    torchserve.script = [NO_MODEL] * 1000
    image_id = submit(store)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    with pytest.raises(JobFailed, match="has no model sam_tiny") as failure:
        store.poll(image_id)
    assert failure.value.code == "model_not_found"


def test_what_answers_in_torchserves_place_fails_no_job(store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [(401, b"who are you?"), (404, b"default backend - 404"), (403, b"<html>no</html>")]
    image_id = submit(store)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert store.job(image_id).state is State.DONE
    assert store.job(image_id).attempts == 1


def test_a_result_waits_for_storage_to_answer_again(
    store: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, refusals = store.bucket.create, iter([True] * 3)

    def flaky(name: str, *given: Any) -> int:
        if name.startswith("results/") and next(refusals, False):
            raise StorageUnreachable("no answer")
        return create(name, *given)

    image_id = submit(store)
    monkeypatch.setattr(store.bucket, "create", flaky)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert store.job(image_id).state is State.DONE
    assert len(torchserve.requests) == 1  # the work was not done again


def test_a_failed_attempt_is_made_good_by_the_next(quick_store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [WORKER_DIED, PREDICTION_FAILED]
    image_id = submit(quick_store)
    with dispatching(quick_store, torchserve):
        until(lambda: ended(quick_store, image_id))
    job = quick_store.job(image_id)
    assert (job.state, job.attempts, job.error) == (State.DONE, 3, None)


def test_a_rejection_is_not_tried_again(store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [TOO_LARGE]
    image_id = submit(store)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert len(torchserve.requests) == 1
    with pytest.raises(JobFailed, match="4000 px"):
        store.poll(image_id)


def test_backpressure_uses_up_no_attempt(store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [BUSY] * 7
    image_id = submit(store)
    with dispatching(store, torchserve) as dispatcher:
        until(lambda: ended(store, image_id))
        assert dispatcher.problem is None
    assert len(torchserve.requests) == 8
    assert store.job(image_id).attempts == 1


def test_a_stop_under_backpressure_gives_the_job_back(store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.script = [BUSY] * 100_000
    image_id = submit(store)
    with dispatching(store, torchserve) as dispatcher:
        until(lambda: isinstance(dispatcher.problem, TorchServeBusy))
    job = store.job(image_id)
    assert (job.state, job.attempts, job.lease) == (State.QUEUED, 0, None)
    assert pending(store) == [image_id]


def held(torchserve: FakeTorchServe) -> tuple[threading.Event, threading.Event]:
    """Makes TorchServe hold its answers: it sets one event at a request, and goes on when the test sets the other."""
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait()

    torchserve.before_answer = hold
    return asked, go_on


def test_stop_ends_the_job_in_hand(store: JobStore, torchserve: FakeTorchServe) -> None:
    asked, go_on = held(torchserve)
    first, second = submit(store), submit(store)
    with dispatching(store, torchserve) as dispatcher:
        asked.wait()
        threading.Timer(0.2, go_on.set).start()
        assert dispatcher.stop(timeout=60)
    states = {store.job(image_id).state for image_id in (first, second)}
    assert states == {State.DONE, State.QUEUED}


def test_the_lease_is_renewed_while_torchserve_works(bucket_name: str, torchserve: FakeTorchServe) -> None:
    store = JobStore(Bucket(bucket_name), lease=timedelta(seconds=0.6))
    go_on = threading.Event()
    torchserve.before_answer = lambda: until(go_on.is_set)
    image_id = submit(store)
    with dispatching(store, torchserve):
        until(lambda: store.job(image_id).state is State.RUNNING)
        leases = set()

        def renewed_twice() -> bool:
            lease = store.job(image_id).lease
            assert lease is not None
            leases.add(lease.expires)
            return len(leases) >= 3

        until(renewed_twice)
        go_on.set()
        until(lambda: ended(store, image_id))
    assert store.job(image_id).attempts == 1


def test_the_job_of_a_dead_dispatcher_is_taken_over(bucket_name: str, torchserve: FakeTorchServe) -> None:
    store = JobStore(Bucket(bucket_name), lease=timedelta(seconds=0.5))
    image_id = submit(store)
    assert isinstance(store.claim(Ticket("lab", image_id), "dies"), Claim)
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    job = store.job(image_id)
    assert (job.state, job.attempts) == (State.DONE, 2)


def test_a_result_found_after_the_lease_was_lost_is_stored(store: JobStore, torchserve: FakeTorchServe) -> None:
    image_id = submit(store)

    def steal() -> None:  # another dispatcher, whose clock is far ahead, takes over
        ahead = JobStore(store.bucket, now=lambda: datetime.now(UTC) + timedelta(days=1))
        assert isinstance(ahead.claim(Ticket("lab", image_id), "thief"), Claim)

    torchserve.before_answer = steal
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert store.poll(image_id) is not None


def test_a_deleted_image_and_a_damaged_job_do_not_stop_the_others(
    store: JobStore, torchserve: FakeTorchServe, gcs: storage.Client, bucket_name: str
) -> None:
    no_image, damaged, good = (submit(store) for _ in range(3))
    bucket = gcs.bucket(bucket_name)
    bucket.blob(f"images/{no_image}").delete()
    bucket.blob(f"jobs/{damaged}.json").upload_from_string(b"{}")
    with dispatching(store, torchserve):
        until(lambda: store.job(good).state is State.DONE and store.job(no_image).state is State.FAILED)
    with pytest.raises(JobFailed, match="deleted"):
        store.poll(no_image)


def test_a_job_handed_in_does_not_wait_for_the_listing(store: JobStore, torchserve: FakeTorchServe) -> None:
    with dispatching(store, torchserve, listing_interval=3600) as dispatcher:
        until(lambda: not pending(store))
        image_id = submit(store)
        dispatcher.hand_in(Ticket("lab", image_id))
        until(lambda: ended(store, image_id))


def test_listing_goes_on_after_storage_failed(
    store: JobStore, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = store.pending.some, threading.Event()

    def some(count: int) -> Iterator[Ticket]:
        if not broken.is_set():
            broken.set()
            raise StorageUnreachable("gone")
        return real(count)

    monkeypatch.setattr(store.pending, "some", some)
    image_id = submit(store)
    with dispatching(store, torchserve):
        broken.wait()
        until(lambda: store.job(image_id).state is State.DONE)


def test_a_stop_that_cannot_wait_gives_the_job_back(
    store: JobStore, bucket_name: str, torchserve: FakeTorchServe
) -> None:
    """On SIGTERM another dispatcher gets the job at once, before its lease ends; the late answer changes nothing."""
    asked, go_on = held(torchserve)
    image_id = submit(store)
    with dispatching(store, torchserve) as dispatcher:
        asked.wait()
        assert not dispatcher.stop(timeout=0.0)
        job = store.job(image_id)
        assert (job.state, job.attempts, job.lease) == (State.QUEUED, 0, None)
        with dispatching(JobStore(Bucket(bucket_name)), torchserve):
            until(lambda: len(torchserve.requests) == 2)
            go_on.set()
            until(lambda: ended(store, image_id))
    assert store.job(image_id).attempts == 1


def test_nothing_is_claimed_while_no_worker_is_ready(store: JobStore, torchserve: FakeTorchServe) -> None:
    torchserve.workers(ready=0)
    image_id = submit(store)
    server = TorchServe(torchserve.url, torchserve.url)
    with Dispatcher(store, server, concurrency=4, listing_interval=0.05, backoff=(0.01, 0.02)) as dispatcher:
        until(lambda: torchserve.looks > 1)
        assert store.job(image_id).attempts == 0
        torchserve.workers(ready=1)
        until(lambda: ended(store, image_id))
        until(lambda: dispatcher.in_hand == 0)


def test_submitters_are_served_in_turn(store: JobStore, torchserve: FakeTorchServe) -> None:
    """One image of a second lab does not wait for the first lab's forty."""
    for _ in range(40):
        submit(store)
    other = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="other")
    with dispatching(store, torchserve):
        until(lambda: ended_one(store, other))
    assert [body["imageId"] for _, body in torchserve.requests].index(other) < GLANCE, "one look"


def ended_one(store: JobStore, image_id: str) -> bool:
    return store.job(image_id).state is State.DONE


# What storage, or a hand in it, may hold ready ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["jobs", "images"])
def test_a_page_in_gcs_place_fails_no_job(
    store: JobStore, bucket_name: str, proxy: Proxy, torchserve: FakeTorchServe, folder: str
) -> None:
    """A load balancer answers 404 for the record or for the image."""
    image_id = submit(store)
    proxy.instead = lambda call: PAGE if call.folder == folder else None
    with dispatching(JobStore(Bucket(bucket_name, patience=0.1)), torchserve) as dispatcher:
        until(lambda: isinstance(dispatcher.problem, StorageUnreachable))
        assert not store.job(image_id).ended
        assert pending(store) == [image_id]
        proxy.instead = lambda call: None
        until(lambda: ended(store, image_id))
    job = store.job(image_id)
    assert (job.state, job.attempts) == (State.DONE, 1)


def test_what_a_hand_left_in_the_bucket_holds_up_no_job_and_no_stop(
    store: JobStore, torchserve: FakeTorchServe, gcs: storage.Client, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a record copied under another id, times centuries away, and a foreign marker of a job that has ended."""
    asked, real = Counter[str](), store.claim

    def counted(ticket: Ticket, owner: str) -> object:
        asked[ticket.image_id] += 1
        return real(ticket, owner)

    monkeypatch.setattr(store, "claim", counted)
    done, late, leased, copied = (submit(store) for _ in range(4))
    bucket, far = gcs.bucket(bucket_name), datetime(9999, 12, 31, tzinfo=UTC)
    store.finish(claim(store, done), {})
    write = bucket.blob
    write(f"jobs/{late}.json").upload_from_string(replace(store.job(late), not_before=far).to_json())
    write(f"jobs/{leased}.json").upload_from_string(store.job(leased).claimed(Lease("nobody", far)).to_json())
    bucket.copy_blob(write(f"jobs/{done}.json"), bucket, f"jobs/{copied}.json")
    write(f"pending/other/{done}").upload_from_string(b"")
    with dispatching(store, torchserve) as dispatcher:
        until(lambda: store.job(late).state is State.DONE)
        good = submit(store)
        until(lambda: store.job(good).state is State.DONE)
        until(lambda: set(pending(store)) == {leased, copied})
        looks = dispatcher.looks
        until(lambda: dispatcher.looks > looks + 2)
        assert dispatcher.supervisor.failures[JOBS] == 0
        assert asked[copied] == 1, "it is not looked at again and again"
        assert dispatcher.stop(timeout=60)
    assert set(pending(store)) == {leased, copied}


def claim(store: JobStore, image_id: str) -> Claim:
    taken = store.claim(Ticket("lab", image_id), "one")
    assert isinstance(taken, Claim)
    return taken


def test_a_dispatcher_finds_a_job_that_lost_its_marker(
    store: JobStore, torchserve: FakeTorchServe, gcs: storage.Client, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grainserve.dispatch.dispatcher.SWEEP_EVERY", 0.05)
    image_id = submit(store)
    gcs.bucket(bucket_name).blob(f"pending/lab/{image_id}").delete()
    with dispatching(store, torchserve):
        until(lambda: ended(store, image_id))
    assert store.job(image_id).state is State.DONE
