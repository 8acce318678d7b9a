"""Announcements of jobs through Google's own Pub/Sub emulator, if `gcloud` has it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from google.cloud import storage
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import JobFailed
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.pubsub import NotificationError, Notifications
from grainserve.jobs.store import Claim, JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import FakeTorchServe
from tools import ports
from tools.emulator import Emulator

GCLOUD = shutil.which("gcloud")
HOUR = 3600.0


@pytest.fixture(scope="session")
def pubsub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Pub/Sub emulator, a JVM that takes some seconds to start."""
    if GCLOUD is None:
        pytest.skip("no gcloud, and so no Pub/Sub emulator")
    folder = tmp_path_factory.mktemp("pubsub")
    port = ports.choose_free(1)[0]
    command = [GCLOUD, "beta", "emulators", "pubsub", "start", "--project=test", f"--host-port=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        emulator = subprocess.Popen(
            [*command, f"--data-dir={folder}", "--quiet"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not listens(port):
            if emulator.poll() is not None:
                said = (folder / "log").read_text()[-300:]
                if "install" in said:  # the component is missing, and gcloud says how to get it
                    pytest.skip(f"gcloud has no Pub/Sub emulator: {said}")
                pytest.fail(f"the Pub/Sub emulator does not start: {said}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(emulator.pid, signal.SIGTERM)
        emulator.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def news(pubsub: str, monkeypatch: pytest.MonkeyPatch) -> Notifications:
    """A fresh topic, named by GRAINSERVE_PUBSUB."""
    topic = f"projects/test/topics/jobs-{uuid.uuid4().hex}"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub)
    monkeypatch.setenv("GRAINSERVE_PUBSUB", topic)
    made = Notifications(topic)
    made.create(ack_seconds=10)
    made.create(ack_seconds=10)  # existing topics and subscriptions stay
    return made


@pytest.fixture
def store(emulator_bucket: str, news: Notifications) -> JobStore:
    return JobStore(Bucket(emulator_bucket), notifications=news)


@pytest.fixture
def emulator_bucket(gcs_client: storage.Client, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"test-{uuid.uuid4().hex}"
    gcs_client.create_bucket(name)
    monkeypatch.setenv("GRAINSERVE_BUCKET", name)
    return name


@pytest.fixture
def gcs_client(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    return emulator.client()


def submit(store: JobStore) -> str:
    return store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def ended(store: JobStore, *ids: str) -> bool:
    return all(store.job(image_id).ended for image_id in ids) and not list(store.pending.all())


def dispatcher(store: JobStore, server: FakeTorchServe) -> Dispatcher:
    """Returns a dispatcher that looks at the bucket once, at its start, and then learns of jobs only by Pub/Sub."""
    made = Dispatcher(store, TorchServe(server.url, None), listing_interval=HOUR).start()
    until(lambda: made.looks > 0)
    return made


def test_news_bring_jobs_that_no_look_at_the_bucket_would(store: JobStore, news: Notifications) -> None:
    with FakeTorchServe() as server:
        working = dispatcher(store, server)
        ids = [submit(store) for _ in range(5)]
        until(lambda: ended(store, *ids))
        working.stop()
    assert news.pull(10, wait=1) == [], "what has ended was acknowledged"
    assert len(server.requests) == 5


def test_a_message_that_comes_twice_makes_no_second_result(store: JobStore, news: Notifications) -> None:
    with FakeTorchServe() as server:
        working = dispatcher(store, server)
        image_id = submit(store)
        for _ in range(3):
            news.announce(Ticket("lab", image_id))
        until(lambda: ended(store, image_id))
        news.announce(Ticket("lab", image_id))
        until(lambda: news.pull(1, wait=0.5) == [])
        working.stop()
    assert len(server.requests) == 1


def test_reconcile_announces_what_pubsub_lost(store: JobStore) -> None:
    lost = JobStore(store.bucket)  # submits without telling Pub/Sub
    ids = [submit(lost) for _ in range(3)]
    with FakeTorchServe() as server:
        working = Dispatcher(store, TorchServe(server.url, None), listing_interval=HOUR)
        working._store.pending.some = lambda count: iter(())  # type: ignore[method-assign] # it never looks at the bucket
        working.start()
        said = CliRunner().invoke(app, ["reconcile", "--create"])
        assert (said.exit_code, said.stdout.strip()) == (0, "3 pending jobs announced")
        until(lambda: ended(store, *ids))
        working.stop()


def test_a_job_in_hand_is_not_brought_to_others(store: JobStore, news: Notifications) -> None:
    """This holds for longer than the ack deadline, as long as the lease is renewed."""
    store.lease = timedelta(seconds=12)
    with FakeTorchServe() as server:
        server.before_answer = lambda: time.sleep(14)
        working = dispatcher(store, server)
        image_id = submit(store)
        until(lambda: store.job(image_id).state is State.RUNNING)
        assert news.pull(1, wait=12) == []
        until(lambda: ended(store, image_id))
        working.stop()


def test_a_dispatcher_that_stops_gives_its_news_back(store: JobStore, news: Notifications) -> None:
    with FakeTorchServe() as server:
        server.before_answer = lambda: time.sleep(3)
        working = dispatcher(store, server)
        image_id = submit(store)
        until(lambda: store.job(image_id).state is State.RUNNING)
        working.stop(timeout=0)
        assert store.job(image_id).state is State.QUEUED
        assert [each.ticket.image_id for each in news.pull(1, wait=5)] == [image_id]


def test_the_job_of_a_dead_letter_fails_unless_somebody_works_on_it(store: JobStore, news: Notifications) -> None:
    idle, leased = submit(store), submit(store)
    assert isinstance(store.claim(Ticket("lab", leased), "another"), Claim)
    dead = Notifications(f"{news.topic}-dead")  # as Pub/Sub does after many failed deliveries
    with FakeTorchServe() as server:
        working = Dispatcher(store, TorchServe(server.url, None), listing_interval=HOUR)
        working._store.pending.some = lambda count: iter(())  # type: ignore[method-assign]
        working._queue.put = lambda ticket: False  # type: ignore[method-assign]
        for image_id in (idle, leased):
            dead.announce(Ticket("lab", image_id))
        working.start()
        until(lambda: store.job(idle).ended)
        working.stop()
    with pytest.raises(JobFailed, match="Pub/Sub brought this job"):
        store.poll(idle)
    assert store.job(leased).state is State.RUNNING


def test_a_topic_that_is_not_there_loses_no_job(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.notifications = Notifications("projects/test/topics/never-made")
    image_id = submit(store)
    assert store.job(image_id).state is State.QUEUED
    assert "dispatchers find it" in caplog.text
    with pytest.raises(NotificationError, match="never-made"):
        store.notifications.announce(Ticket("lab", image_id))
