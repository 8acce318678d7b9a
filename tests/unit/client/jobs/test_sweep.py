"""The sweep finds and repairs jobs without markers, and markers and results without jobs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.cloud import storage

from grainserve.jobs.job import State
from grainserve.jobs.store import JobStore
from grainserve.jobs.sweep import Sweep
from tests.unit.client.cli.test_operations import run
from tests.unit.client.jobs.test_store import DIED, Clock, claimed, pending, submit
from tests.unit.client.made import make_result

Names = Callable[[], set[str]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def objects(gcs: storage.Client, bucket_name: str) -> storage.Bucket:
    return gcs.bucket(bucket_name)


@pytest.fixture
def damaged(store: JobStore, objects: storage.Bucket) -> dict[str, str]:
    """Image ids in a bucket that needs repair, by their damage."""
    ids = {what: submit(store) for what in ("lost", "ran", "done", "failed", "late", "ended", "queued", "gone")}
    orphan = "f" * 32
    for what in ("done", "failed", "late", "ended", "ran"):
        taken = claimed(store, ids[what])
        if what in ("failed", "late"):
            store.reject(taken, DIED)
        elif what != "ran":
            store.finish(taken, make_result(ids[what]))
    for what in ("lost", "ran"):
        objects.blob(f"pending/lab/{ids[what]}").delete()
    objects.blob(f"jobs/{ids['gone']}.json").delete()
    objects.blob(f"pending/lab/{ids['ended']}").upload_from_string(b"")
    for image_id in (ids["late"], orphan):
        objects.blob(f"results/{image_id}.json").upload_from_string(json.dumps(make_result(image_id)))
    objects.blob("jobs/a b.json").upload_from_string(b"{}")
    objects.blob(f"jobs/{'e' * 32}.json").upload_from_string(b"{}")
    return ids | {"orphan": orphan}


def repaired(ids: dict[str, str], store: JobStore, names: Names) -> None:
    assert sorted(pending(store)) == sorted(ids[what] for what in ("lost", "ran", "queued"))
    results = {name for name in names() if name.startswith("results/")}
    assert results == {f"results/{ids[what]}.json" for what in ("done", "ended")}
    for what in ("late", "failed"):
        assert store.job(ids[what]).state is State.FAILED
    assert store.poll(ids["done"]) == make_result(ids["done"])


def test_reconcile_repairs_both_and_says_what_it_did(
    damaged: dict[str, str], store: JobStore, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAINSERVE_PUBSUB", raising=False)
    code, said, _ = run("reconcile")
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == ["2", "2", "2"]
    repaired(damaged, store, names)
    code, said, _ = run("reconcile")
    assert [line.split()[0] for line in said.splitlines()] == ["0", "0", "0"]
    repaired(damaged, store, names)


@pytest.mark.parametrize(("page", "most"), [(3, 1), (3, 1000), (1000, 1), (1000, 1000)])
def test_steps_from_anywhere_come_round(
    damaged: dict[str, str], store: JobStore, names: Names, page: int, most: int
) -> None:
    sweeping = Sweep(store, start="8", page=page)
    ends = 0
    while ends < 2:
        ends += sweeping.step(most)
    assert (sweeping.marked, sweeping.dropped) == (2, 2)
    sweeping.clear_markers()
    repaired(damaged, store, names)


def test_jobs_that_are_done_cost_two_listings(bucket_name: str, store: JobStore) -> None:
    for _ in range(5):
        image_id = submit(store)
        store.finish(claimed(store, image_id), {})
    calls: list[str] = []
    store.bucket.client._http.hooks["response"].append(lambda response, *_, **__: calls.append(response.url))
    assert Sweep(store).step()
    assert len(calls) == 2
