"""Jobs that seem to be gone, or are deleted and submitted again under their key; a proxy acts in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from grainserve.errors import StorageError, StorageUnreachable
from grainserve.jobs.job import State
from grainserve.jobs.store import Claim, JobStore
from grainserve.storage.bucket import Bucket
from tests.faults.proxy import Answer, Call, Proxy
from tests.unit.client.jobs.test_store import DIED, Clock, Names, claim, claimed, pending, submit
from tests.unit.client.made import make_result
from tests.unit.client.storage.test_bucket import PAGE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket_name: str, clock: Clock) -> JobStore:
    return JobStore(Bucket(bucket_name), now=clock)


# Who says that there is no job ----------------------------------------------------------------------------------------


@pytest.fixture
def between(bucket_name: str, proxy: Proxy, clock: Clock) -> JobStore:
    """Returns a store that reaches storage through the proxy."""
    return JobStore(Bucket(bucket_name, patience=0.2), now=clock)


@pytest.mark.parametrize("said", [PAGE, (404, [], b"Not Found\n")], ids=["a page", "one of two"])
@pytest.mark.parametrize("folder", ["jobs", "images"])
def test_nothing_ends_by_one_answer_that_something_is_not_there(
    store: JobStore, between: JobStore, proxy: Proxy, folder: str, said: Answer
) -> None:
    image_id = submit(store)
    proxy.instead = lambda call: said if (call.verb, call.folder) == ("read", folder) else None
    with pytest.raises(StorageUnreachable if said is PAGE else StorageError):
        _ = claim(between, image_id) if folder == "jobs" else between.image(image_id)
    assert pending(store) == [image_id]
    proxy.instead = lambda call: None
    assert between.image(image_id) == b"image"
    claimed(between, image_id)


# Deleted, and submitted again under the same key ----------------------------------------------------------------------


def again(store: JobStore, image_id: str) -> None:
    store.delete(image_id)
    assert submit(store, "A17") == image_id


def once(proxy: Proxy, moment: str, verb: str, folder: str, act: Callable[[], None]) -> None:
    """Does something at the first request of a kind, before it reaches storage or when storage has done it."""
    left = [act]

    def look(call: Call, *_: int) -> None:
        if (call.verb, call.folder) == (verb, folder) and left:
            left.pop()()

    setattr(proxy, moment, look)


def test_a_job_that_has_ended_takes_no_later_marker_with_it(store: JobStore, between: JobStore, proxy: Proxy) -> None:
    image_id = submit(store, "A17")
    ticket = next(store.pending.all())
    taken = between.claim(ticket, "one")
    assert isinstance(taken, Claim)
    once(proxy, "before", "delete", "pending", lambda: again(store, image_id))
    between.finish(taken, make_result(image_id))
    assert store.job(image_id).state is State.QUEUED
    assert pending(store) == [image_id]


def test_a_marker_of_an_ended_job_is_dropped_and_not_one_that_came_since(
    store: JobStore, between: JobStore, proxy: Proxy
) -> None:
    image_id = submit(store, "A17")
    ticket = next(store.pending.all())
    store.reject(claimed(store, image_id), DIED)
    store.mark(ticket)
    (ticket,) = store.pending.all()
    once(proxy, "before", "delete", "pending", lambda: again(store, image_id))
    assert between.claim(ticket, "one") is None
    assert pending(store) == [image_id]
    claimed(between, image_id)


def test_a_deletion_takes_no_later_result_with_it(store: JobStore, between: JobStore, proxy: Proxy) -> None:
    image_id = submit(store, "A17")
    store.finish(claimed(store, image_id), make_result(image_id))

    def measured_again() -> None:
        assert submit(store, "A17") == image_id
        store.finish(claimed(store, image_id), make_result(image_id))

    once(proxy, "after", "delete", "jobs", measured_again)
    between.delete(image_id)
    assert store.poll(image_id) == make_result(image_id)


def test_a_deletion_that_looked_too_early_looks_again(
    store: JobStore, between: JobStore, proxy: Proxy, names: Names
) -> None:
    """The job ends while the deletion looks up its objects."""
    image_id = submit(store, "A17")
    taken = claimed(store, image_id)
    once(proxy, "after", "look up", "results", lambda: store.finish(taken, make_result(image_id)))
    between.delete(image_id)
    assert {name for name in names() if not name.startswith("keys/")} == set()


def test_a_result_from_before_the_job_is_replaced(store: JobStore, between: JobStore, clock: Clock) -> None:
    """The process that wrote the result, too late, for the deleted job is about to delete it."""
    image_id = submit(store, "A17")
    store.delete(image_id)
    name = f"results/{image_id}.json"
    store.bucket.create(name, b"{}", "application/json")
    late = store.bucket.find(name)
    assert late
    clock.time = late.written + timedelta(seconds=1)
    assert submit(store, "A17") == image_id
    store.finish(claimed(store, image_id), make_result(image_id))
    between.bucket.delete(name, late.generation)
    assert store.poll(image_id) == make_result(image_id)


def test_an_image_that_a_deletion_took_meanwhile_is_stored_again(
    store: JobStore, between: JobStore, proxy: Proxy
) -> None:
    image_id = submit(store, "A17")
    once(proxy, "before", "create", "jobs", lambda: store.delete(image_id))
    assert submit(between, "A17") == image_id
    assert store.image(image_id) == b"image"
    assert pending(store) == [image_id]
