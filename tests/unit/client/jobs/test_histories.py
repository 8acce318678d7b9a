"""Histories: entries are made with the jobs, and repaired."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from grainserve.errors import InvalidOption, ResultNotFound
from grainserve.jobs.histories import mend_histories
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore, entry_of
from grainserve.jobs.sweep import Sweep
from grainserve.storage.bucket import Bucket
from tests.unit.client.jobs.test_store import Clock
from tests.unit.client.made import make_result


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket: Bucket, clock: Clock) -> JobStore:
    return JobStore(bucket, now=lambda: clock.time)


def submit(store: JobStore, name: str | None = None, key: str | None = None) -> str:
    return store.submit(b"image", model="m", version=None, options={}, submitter="lab", name=name, key=key)


def listed(store: JobStore) -> list[tuple[str, str]]:
    return [(entry.image_id, entry.name) for entry in store.entries.listed("lab")]


def drop(store: JobStore, name: str) -> None:
    found = store.bucket.find(name)
    assert found
    store.bucket.delete(name, found.generation)


def test_a_named_job_is_in_its_submitters_history_and_another_is_not(store: JobStore, clock: Clock) -> None:
    first = submit(store, name="a.png")
    clock.time += timedelta(milliseconds=1)
    second = submit(store, name="")
    submit(store)

    assert listed(store) == [(second, ""), (first, "a.png")]
    assert list(store.entries.listed("other")) == []


def test_a_name_that_is_none_stores_nothing(store: JobStore) -> None:
    with pytest.raises(InvalidOption):
        submit(store, name="a\nb")
    assert list(store.bucket.names("")) == []


def test_a_submission_under_a_key_has_one_entry_which_keeps_what_was_changed(store: JobStore, clock: Clock) -> None:
    first = submit(store, name="a", key="k")
    store.entries.change(entry_of(store.job(first)), "b", ["t"])
    clock.time += timedelta(seconds=5)

    assert submit(store, name="a", key="k") == first

    (entry,) = store.entries.listed("lab")
    assert (entry.image_id, entry.name, entry.tags) == (first, "b", ("t",))


def test_a_deletion_takes_entry_and_scale(store: JobStore) -> None:
    image_id = submit(store, name="a")
    store.bucket.create(f"scales/{image_id}.json", b"[]", "application/json")

    store.delete(image_id)

    assert list(store.bucket.names("")) == []


def test_the_sweep_enters_a_job_whose_submission_was_cut_short(store: JobStore) -> None:
    image_id = submit(store, name="a")
    drop(store, entry_of(store.job(image_id)).object_name)
    drop(store, Ticket("lab", image_id).marker)

    Sweep(store).step()

    assert listed(store) == [(image_id, "a")]


def test_jobs_from_before_there_were_histories_are_entered(store: JobStore) -> None:
    image_id = submit(store)
    (old,) = [store.bucket.read(name) for name in store.bucket.names("jobs/")]
    assert old
    record = {name: value for name, value in json.loads(old.data).items() if name != "name"}
    store.bucket.replace(f"jobs/{image_id}.json", json.dumps(record).encode(), "application/json", old.generation)

    assert mend_histories(store).made == 1
    assert listed(store) == [(image_id, "")]
    assert mend_histories(store).made == 0


def test_entries_of_images_that_are_gone_are_dropped_after_an_hour(store: JobStore, clock: Clock) -> None:
    kept, gone, unlisted = submit(store, name="a"), submit(store, name="b"), submit(store)
    drop(store, f"jobs/{gone}.json")

    assert mend_histories(store).dropped == 0, "its submission or deletion may be under way"
    clock.time += timedelta(hours=1, seconds=1)
    assert mend_histories(store).dropped == 1

    assert listed(store) == [(kept, "a")]
    assert store.job(unlisted).name is None


def test_of_two_entries_of_an_image_its_jobs_own_stays(store: JobStore, clock: Clock) -> None:
    """A change that comes late, after the image was deleted and submitted again, makes a second one."""
    first = submit(store, name="a", key="k")
    before = entry_of(store.job(first))
    store.delete(first)
    clock.time += timedelta(hours=2)
    assert submit(store, name="a", key="k") == first
    store.entries.change(before, "late", None)

    assert mend_histories(store).dropped == 1

    assert listed(store) == [(first, "a")]


def test_a_record_that_cannot_be_read_is_left_alone(store: JobStore) -> None:
    store.bucket.create("jobs/abc.json", b"{}", "application/json")
    store.bucket.create("jobs/a b.json", b"{}", "application/json")
    assert mend_histories(store).made == 0


def test_a_result_is_summed_up_without_reading_it(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = submit(store, name="a")
    claim = store.claim(Ticket("lab", image_id), "d")
    assert isinstance(claim, Claim)
    store.finish(claim, make_result(image_id))
    read: list[str] = []
    monkeypatch.setattr(store.bucket, "read", read.append)

    assert store.summary(image_id) == {"grains": 4, "width": 80, "height": 60}

    assert read == []


def test_an_old_result_is_read_for_its_summary(store: JobStore) -> None:
    store.bucket.create("results/a.json", json.dumps(make_result("a")).encode(), "application/json")
    assert store.summary("a") == {"grains": 4, "width": 80, "height": 60}
    with pytest.raises(ResultNotFound):
        store.summary("b")
