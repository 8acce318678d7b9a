"""The exporter, over a real GCS emulator and an imitation of TorchServe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import requests
from google.cloud import storage
from prometheus_client import CollectorRegistry, Metric

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import StorageUnreachable
from grainserve.jobs import job as jobs
from grainserve.jobs.job import MAX_ATTEMPTS, Failure, Job
from grainserve.jobs.store import Claim, JobStore
from grainserve.monitoring.dispatchers import SECONDS, measure, offer
from grainserve.monitoring.exporter import (
    Exporter,
    Gauges,
    Source,
    bucket_gauges,
    from_environment,
    serving,
    torchserve_gauges,
)
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management
from tests.unit.client.cli.test_operations import run
from tests.unit.client.fake_torchserve import BUSY, NO_MODEL, WORKER_DIED, Answer, FakeTorchServe

VERSION = {"model": "sam_tiny", "version": "1.0"}
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(families: Gauges) -> Figures:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(seen: Figures, name: str, **labels: str) -> float | None:
    return seen.get((f"grainserve_{name}", frozenset(labels.items())))


def submit(store: JobStore, count: int) -> list[str]:
    return [
        store.submit(b"image", model="sam_tiny", version=None, options={}, submitter=f"lab-{i % 2}")
        for i in range(count)
    ]


def claim(store: JobStore, image_id: str) -> Claim:
    ticket = next(ticket for ticket in store.pending.all() if ticket.image_id == image_id)
    claimed = store.claim(ticket, "somebody")
    assert isinstance(claimed, Claim)
    return claimed


def test_every_version_has_its_workers_and_its_queue(torchserve: FakeTorchServe) -> None:
    torchserve.workers(ready=2, waiting=7)
    old = {
        "modelName": "sam_tiny",
        "modelVersion": "0.9",
        "modelUrl": "old.mar",
        "minWorkers": 3,
        "workers": [{"status": "READY"}, {"status": "UNLOADING"}],
        "jobQueueStatus": {"pendingRequests": 3, "remainingCapacity": 97},
    }
    torchserve.management["/models/sam_tiny/all"] += [old]
    seen = figures(torchserve_gauges(Management(torchserve.url)))
    counts = ("workers_wanted", "workers", "workers_ready", "default")
    assert [of(seen, f"torchserve_{name}", **VERSION) for name in counts] == [2, 2, 2, 1]
    assert [of(seen, f"torchserve_{name}", **VERSION) for name in ("queue_depth", "queue_free")] == [7, 93]
    older = {"model": "sam_tiny", "version": "0.9"}
    assert [of(seen, f"torchserve_{name}", **older) for name in counts] == [3, 2, 1, 0]
    assert of(seen, "torchserve_queue_depth", **older) == 3


def test_unfinished_jobs_are_counted_and_their_ages_told(store: JobStore) -> None:
    first = submit(store, 1)[0]
    time.sleep(1.5)
    submit(store, 2)
    seen = figures(bucket_gauges(store))
    assert of(seen, "pending_jobs") == 3
    # GCS's clock, which ours takes from its answers, has whole seconds.
    oldest, median = (of(seen, "pending_age_seconds", which=which) for which in ("oldest", "median"))
    assert oldest is not None
    assert median is not None
    assert 0.4 <= oldest < 20
    assert median < oldest
    for image_id in [first]:
        store.finish(claim(store, image_id), {"metadata": {}})
    assert of(figures(bucket_gauges(store)), "pending_jobs") == 2


def test_an_empty_bucket_has_no_age_but_none(store: JobStore) -> None:
    seen = figures(bucket_gauges(store))
    assert of(seen, "pending_jobs") == 0
    assert of(seen, "pending_age_seconds", which="oldest") == 0
    assert of(seen, "pending_age_seconds", which="median") is None


def test_the_states_of_a_sample_are_told(store: JobStore) -> None:
    queued, running, delayed, abandoned = submit(store, 4)
    claim(store, running)
    store.attempt_failed(claim(store, delayed), Failure("worker_died", "it died"))
    expired = JobStore(store.bucket, lease=timedelta(seconds=-1))
    claim(expired, abandoned)
    # An attempt is put off by a second at least; the rest is quick.
    seen = figures(bucket_gauges(store))
    states = {state: of(seen, "pending_sampled_jobs", state=state) for state in ("queued", "running", "abandoned")}
    delay = of(seen, "pending_sampled_jobs", state="delayed")
    assert delay is not None
    assert states["queued"] is not None
    assert (states["running"], states["abandoned"], states["queued"] + delay) == (1, 1, 2)
    assert store.job(queued).attempts == 0


def test_a_damaged_record_is_told(store: JobStore, gcs: storage.Client, bucket_name: str) -> None:
    """Nobody works on it, and its marker stays."""
    damaged, _ = submit(store, 2)
    gcs.bucket(bucket_name).blob(f"jobs/{damaged}.json").upload_from_string(b"{}")
    seen = figures(bucket_gauges(store))
    assert [of(seen, "pending_sampled_jobs", state=state) for state in ("unreadable", "queued")] == [1, 1]
    assert of(seen, "pending_jobs") == 2


def test_a_long_queue_costs_a_few_calls(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(store, 12)
    read: list[str] = []
    job = store.job

    def counted(image_id: str) -> Job:
        read.append(image_id)
        return job(image_id)

    monkeypatch.setattr(store, "job", counted)
    seen = figures(bucket_gauges(store, counted=10, sampled=4))
    assert of(seen, "pending_jobs") == 10
    assert len(set(read)) == len(read) == 4
    assert sum(value for (name, _), value in seen.items() if name == "grainserve_pending_sampled_jobs") == 4


def test_a_source_that_is_down_hides_its_own_figures_only(
    bucket_name: str, torchserve: FakeTorchServe, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, 1)
    monkeypatch.setenv("GRAINSERVE_MANAGEMENT", "http://127.0.0.1:9")
    seen = scrape_until(lambda text: 'exporter_up{source="bucket"} 1.0' in text)
    assert 'grainserve_exporter_up{source="torchserve"} 0.0' in seen
    assert "grainserve_torchserve_" not in seen
    assert "grainserve_pending_jobs 1.0" in seen
    monkeypatch.setenv("GRAINSERVE_MANAGEMENT", torchserve.url)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    seen = scrape_until(lambda text: 'exporter_up{source="torchserve"} 1.0' in text)
    assert 'grainserve_exporter_up{source="bucket"} 0.0' in seen
    assert "grainserve_pending_" not in seen
    assert 'grainserve_torchserve_workers_ready{model="sam_tiny",version="1.0"} 8.0' in seen


def scrape_until(told: Callable[[str], bool]) -> str:
    """Scrapes an exporter of the environment until it says so; each scrape is quick, whoever is down."""
    with serving(from_environment(every=1), "127.0.0.1", 0) as address:
        deadline = time.monotonic() + 20
        while True:
            began = time.monotonic()
            text = requests.get(address, timeout=5).text
            assert time.monotonic() - began < 1
            if told(text):
                return text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)


def up(source: Source) -> float | None:
    families: list[Metric] = list(Exporter([source]).collect())
    return of(figures(families), "exporter_up", source=source.name)


def test_a_source_that_hangs_is_down_when_its_last_look_is_old() -> None:
    release, looked = threading.Event(), threading.Event()

    def look() -> Gauges:
        if looked.is_set():
            release.wait(60)
        looked.set()
        return ()

    source = Source("slow", look, every=0.1)
    assert up(source) == 0
    source.start()
    deadline = time.monotonic() + 5
    while up(source) == 0:
        assert time.monotonic() < deadline
    while up(source) == 1:
        assert time.monotonic() < deadline
    source.stop()
    release.set()


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    looks = threading.Semaphore(0)

    def look() -> Gauges:
        looks.release()
        raise StorageUnreachable("GCS does not answer")

    source = Source("bucket", look, every=0.01)
    source.start()
    for _ in range(5):
        assert looks.acquire(timeout=5)
    source.stop()
    assert [record.getMessage() for record in caplog.records] == ["bucket: GCS does not answer"]


def test_nothing_to_look_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAINSERVE_MANAGEMENT", "none")
    monkeypatch.delenv("GRAINSERVE_BUCKET", raising=False)
    code, _, said = run("exporter", "--port", "0")
    assert (code, "GRAINSERVE_BUCKET" in said) == (2, True)


@pytest.mark.usefixtures("bucket_name", "torchserve")
def test_the_command_serves_until_it_is_asked_to_stop() -> None:
    command = [sys.executable, "-m", "grainserve", "exporter", "--port", "0", "--every", "1"]
    process = subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    line = process.stderr.readline()
    address = next(word for word in line.split() if word.startswith("http://"))
    assert "tells of torchserve and bucket" in line
    assert "grainserve_exporter_up" in requests.get(address, timeout=5).text
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_dispatcher_tells_how_long_jobs_waited_and_took(store: JobStore, torchserve: FakeTorchServe) -> None:
    registry = CollectorRegistry()
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, torchserve.url), listing_interval=0.1)
    measure(dispatcher, registry)
    image_id = submit(store, 1)[0]
    with dispatcher:
        deadline = time.monotonic() + 20
        while not store.job(image_id).ended or dispatcher.in_hand:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    model = {"model": "sam_tiny"}
    assert registry.get_sample_value("grainserve_job_wait_seconds_count", model) == 1
    assert registry.get_sample_value("grainserve_job_seconds_count", model) == 1
    assert registry.get_sample_value("grainserve_jobs_ended", {"how": "done"}) == 1
    # The answer says 1.5 s, which it did not take: nothing was spent outside the worker.
    answered = {"model": "sam_tiny", "version": "1.0"}
    assert registry.get_sample_value("grainserve_queue_seconds_count", answered) == 1
    assert registry.get_sample_value("grainserve_queue_seconds_sum", answered) == 0
    assert (registry.get_sample_value("grainserve_job_seconds_sum", model) or 0) < SECONDS[-1]


def test_only_a_first_attempt_tells_how_long_a_job_waited(store: JobStore, torchserve: FakeTorchServe) -> None:
    registry = CollectorRegistry()
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, torchserve.url))
    measure(dispatcher, registry)
    job = store.job(submit(store, 1)[0])
    for attempts in range(1, MAX_ATTEMPTS + 1):
        dispatcher.on_taken(replace(job, attempts=attempts), 3.0)
    assert registry.get_sample_value("grainserve_job_wait_seconds_count", {"model": "sam_tiny"}) == 1


@pytest.mark.parametrize("script", [[BUSY] * 3, [NO_MODEL] * 3, [WORKER_DIED]], ids=["full queue", "no model", "died"])
def test_a_job_waits_until_torchserve_takes_it(
    store: JobStore, torchserve: FakeTorchServe, script: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told once, at the request that was taken, whatever became of that."""
    monkeypatch.setattr(jobs, "MODEL_PAUSE", timedelta(seconds=0.01))
    told: list[tuple[int, int]] = []
    torchserve.script = script.copy()
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, None), listing_interval=0.05, backoff=(0.01, 0.02))
    dispatcher.on_taken = lambda job, _: told.append((job.attempts, len(torchserve.requests)))
    image_id = submit(store, 1)[0]
    with dispatcher:
        while not store.job(image_id).ended:
            time.sleep(0.02)
    assert told == ([(1, 1), (2, 2)] if script == [WORKER_DIED] else [(1, 4)])


@pytest.mark.parametrize(
    ("metadata", "spent"),
    [
        ({"model": "m", "version": "2.0", "processTime": 1.5}, 2.5),
        ({"model": "m", "version": "2.0", "processTime": 9}, 0.0),
        ({"model": "m", "version": 2, "processTime": 1.5}, None),
        ({"model": "m"}, None),
        (None, None),
    ],
)
def test_what_an_answer_did_not_spend_at_the_worker_is_the_queues(
    store: JobStore, torchserve: FakeTorchServe, metadata: object, spent: float | None
) -> None:
    registry = CollectorRegistry()
    dispatcher = Dispatcher(store, TorchServe(torchserve.url, torchserve.url))
    measure(dispatcher, registry)
    dispatcher.on_answered({"metadata": metadata}, 4.0)
    assert registry.get_sample_value("grainserve_queue_seconds_sum", {"model": "m", "version": "2.0"}) == spent


def test_a_dispatchers_figures_are_offered_on_a_port(store: JobStore, torchserve: FakeTorchServe) -> None:
    port = offer(Dispatcher(store, TorchServe(torchserve.url, torchserve.url)), "127.0.0.1", 0)
    assert "grainserve_jobs_in_hand 0.0" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
