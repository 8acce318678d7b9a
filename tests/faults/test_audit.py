"""The audit finds planted faults: a bucket without faults gets one fault at a time."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from google.cloud import storage

from grainserve.jobs.job import Failure, Job, State
from tests.faults.audit import audit, audit_idle
from tests.faults.proxy import Proxy
from tools.emulator import Emulator

IDLE = {"dispatchers": 5, "submitters": 1, "unsettled": 10}


class Planted:
    """A bucket with one job that is done, without faults."""

    def __init__(self, bucket: storage.Bucket) -> None:
        self.bucket = bucket
        self.id = os.urandom(16).hex()
        self.job = Job(self.id, "lab", "sam_tiny", None, {}, datetime.now(UTC), State.DONE)
        self.put(f"images/{self.id}", b"image")
        self.put_job(self.job)
        self.put_result()

    def put(self, name: str, data: bytes) -> None:
        self.bucket.blob(name).upload_from_string(data)

    def put_job(self, job: Job) -> None:
        self.put(f"jobs/{self.id}.json", job.to_json())

    def put_result(self, image_id: str | None = None) -> None:
        self.put(f"results/{self.id}.json", json.dumps({"metadata": {"imageId": image_id or self.id}}).encode())

    def take(self, folder: str) -> None:
        self.bucket.blob(f"{folder}/{self.id}" + ("" if folder == "images" else ".json")).delete()

    def change(self, **changed: Any) -> None:
        record = json.loads(self.job.to_json()) | changed
        self.put(f"jobs/{self.id}.json", json.dumps(record).encode())

    def mark(self, image_id: str) -> None:
        self.put(f"pending/lab/{image_id}", b"")


@pytest.fixture
def planted(emulator: Emulator) -> Planted:
    return Planted(emulator.create_bucket(f"audit-{os.urandom(6).hex()}"))


def test_what_is_well_has_no_faults(planted: Planted) -> None:
    found = audit(planted.bucket, {planted.id}, {f"results/{planted.id}.json": 1})
    assert (found.faults, found.jobs, found.done, dict(found.submitters)) == ([], 1, 1, {"lab": 1})


OTHER = "0" * 32


def _unended(planted: Planted) -> None:
    planted.change(state="queued")
    planted.take("results")


def _failed(planted: Planted) -> None:
    planted.put_job(planted.job.failed(Failure("worker_died", "it died")))


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (_unended, "lost: queued without a marker"),
        (lambda planted: planted.mark(OTHER), "it belongs to no job"),
        (lambda planted: planted.put(f"results/{OTHER}.json", b"{}"), "it belongs to no job"),
        (lambda planted: planted.put_result(OTHER), "another's result"),
        (lambda planted: planted.put(f"results/{planted.id}.json", b"{"), "another's result"),
        (lambda planted: planted.change(state="running"), "a result, and running"),
        (_failed, "failed, and has a result"),
        (lambda planted: planted.take("results"), "done without a result"),
        (lambda planted: planted.mark(planted.id), "ended, and its marker is left"),
        (lambda planted: planted.change(imageId=OTHER), "another's record"),
        (lambda planted: planted.put(f"jobs/{planted.id}.json", b"{"), "a job record cannot be read"),
        (lambda planted: planted.take("images"), "its image is gone"),
        (lambda planted: planted.change(name="a.png"), "done, and not in its submitter's history"),
    ],
)
def test_it_finds(planted: Planted, plant: Callable[[Planted], None], fault: str) -> None:
    plant(planted)
    found = audit(planted.bucket, (), {})
    assert any(fault in each for each in found.faults), found.faults


def test_it_finds_what_was_promised_and_what_was_written_twice(planted: Planted) -> None:
    found = audit(planted.bucket, {OTHER}, {f"results/{planted.id}.json": 2})
    assert found.faults == [
        f"{OTHER}: lost: it was promised and has no job",
        f"results/{planted.id}.json: written 2 times",
    ]


def test_dispatchers_that_look_as_documented_are_idle() -> None:
    # Twice in six seconds, one submitter has markers, and each sweeps: 2 x 3 + 2 + 2 x 10.
    assert audit_idle(Counter(list=140), 6.0, **IDLE) == []


def test_it_finds_a_dispatcher_that_spins() -> None:
    calls = Counter({"list": 100, "read jobs": 500})
    assert audit_idle(calls, 6.0, **IDLE) == [
        "6000 calls to GCS in an idle minute, 1400 at most are documented: 5000 read jobs, 1000 list"
    ]


def test_the_proxy_counts_writes_of_one_job_calls_and_who_went_elsewhere(emulator: Emulator) -> None:
    bucket = emulator.create_bucket(f"audit-{os.urandom(6).hex()}")
    name = f"results/{OTHER}.json"
    with Proxy(emulator.url) as proxy:

        def write(name: str, *, new: bool = False) -> None:
            url = f"{proxy.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name={name}"
            if new:
                url += "&ifGenerationMatch=0"
            assert requests.post(url, data=json.dumps({"name": name}), timeout=30).ok

        write(name, new=True)
        write(f"jobs/{OTHER}.json", new=True)
        write(name)
        assert proxy.written == {name: 1}
        write(f"jobs/{OTHER}.json")  # a change of the same job
        write(name)
        assert proxy.written == {name: 2}
        requests.get(f"{proxy.url}/elsewhere", timeout=30)
        assert (proxy.heard.total(), len(proxy.elsewhere)) == (6, 1)
