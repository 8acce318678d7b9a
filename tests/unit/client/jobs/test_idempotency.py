"""Submissions under idempotency keys: sent again, they make no second job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from grainserve.errors import IdempotencyConflict, InvalidConfiguration
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.unit.client.jobs.test_store import Names, claimed, die_after, pending, submit
from tests.unit.client.made import make_result


def test_the_same_key_is_the_same_submission(store: JobStore, names: Names) -> None:
    first = submit(store, key="A17")
    assert submit(store, key="A17") == first
    assert submit(store, key="A18") != first
    assert submit(store, key="A17", submitter="other") != first, "each submitter has keys of its own"
    assert sum(name.startswith("jobs/") for name in names()) == 3


def test_a_key_for_another_image_is_refused(store: JobStore) -> None:
    first = submit(store, key="A17")
    with pytest.raises(IdempotencyConflict, match="A17") as conflict:
        submit(store, key="A17", image=b"another")
    assert conflict.value.image_id == first


def test_a_key_submitted_again_after_the_end_makes_no_marker(store: JobStore) -> None:
    image_id = submit(store, key="A17")
    store.finish(claimed(store, image_id), make_result(image_id))
    assert submit(store, key="A17") == image_id
    assert pending(store) == []
    assert store.poll(image_id) is not None


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_crash_in_submit_is_made_good_under_the_same_key(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, names: Names, writes: int
) -> None:
    with monkeypatch.context() as patch:
        die_after(writes, store, patch)
        with pytest.raises(KeyboardInterrupt):
            submit(store, key="A17")
    image_id = submit(store, key="A17")
    assert pending(store) == [image_id]
    assert sorted(name.split("/")[0] for name in names()) == ["images", "jobs", "keys", "pending"]


def test_submissions_in_a_race_under_one_key_make_one_job(store: JobStore, bucket_name: str, names: Names) -> None:
    stores = [JobStore(Bucket(bucket_name)) for _ in range(8)]
    barrier = threading.Barrier(len(stores))

    def race(number: int) -> str:
        barrier.wait()
        return submit(stores[number], key="A17")

    with ThreadPoolExecutor(len(stores)) as pool:
        assert len(set(pool.map(race, range(len(stores))))) == 1
    assert sum(name.startswith("jobs/") for name in names()) == 1


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "../x", "-a", "a" * 64])
def test_a_submitters_name_that_could_be_a_path_is_refused(store: JobStore, name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="submitter"):
        submit(store, submitter=name)
