"""A process is killed at each step of the protocol; the next process repairs what it left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grainserve.jobs.job import Job
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.faults.audit import audit, listed
from tests.faults.part import Part
from tests.faults.proxy import Call, Mischief, Proxy
from tests.faults.world import LEASE
from tools import ports
from tools.emulator import Emulator

CLAIM, DONE = 1, 2
"""Order of a dispatcher's writes of the job's record → their meaning."""

ANSWERED = [pytest.param(False, id="before", marks=pytest.mark.long), pytest.param(True, id="after")]
"""Whether storage had carried the request out when the process was killed."""


class Scene:
    """An emulator behind a proxy, and the stub."""

    def __init__(self, emulator: Emulator, proxy: Proxy, folder: Path, name: str) -> None:
        self.emulator, self.proxy, self.folder, self.name = emulator, proxy, folder, name
        self.bucket = emulator.create_bucket(name)
        port = ports.choose_free(1)[0]
        self.stub = Part("stub", "tests.faults.stub", ["--port", str(port), "--seconds", "0.1"], {}, folder / "stub")
        url = f"http://127.0.0.1:{port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": proxy.url,
            "GRAINSERVE_BUCKET": name,
            "GRAINSERVE_TORCHSERVE": url,
            "GRAINSERVE_MANAGEMENT": url,
            "PYTHONUNBUFFERED": "1",
        }
        self.parts = [self.stub]
        self.stub.start()

    def part(self, name: str, module: str, *arguments: str) -> Part:
        self.parts.append(Part(name, module, list(arguments), self.environment, self.folder / name))
        return self.parts[-1]

    def dispatcher(self, name: str) -> Part:
        return self.part(name, "grainserve", "dispatch", "--concurrency", "1", "--lease", str(LEASE))

    def submitter(self, count: int) -> Part:
        return self.part("submitter", "tests.faults.submitter", str(count), "7", str(LEASE))

    def kill_at(
        self, part: Part, verb: str, folder: str, number: int, *, answered: bool, by: int = signal.SIGKILL
    ) -> threading.Event:
        """Kills the process at its n-th request of a kind, before it reaches storage or when storage has done it."""
        killed, count = threading.Event(), 0

        def look(call: Call) -> None:
            nonlocal count
            if (call.verb, call.folder) == (verb, folder) and not killed.is_set():
                count += 1
                if count == number:
                    part.signal(by)
                    killed.set()
                    if not answered:
                        raise ConnectionAbortedError  # requests that a dead process had not sent yet

        if answered:
            self.proxy.after = lambda call, status: look(call) if status < 300 else None
        else:
            self.proxy.before = look
        return killed

    def jobs(self) -> list[Job]:
        return [Job.from_json(blob.download_as_bytes()) for blob in listed(self.bucket, "jobs/")]

    def until_ended(self, count: int) -> None:
        while len(jobs := self.jobs()) < count or not all(job.ended for job in jobs) or self.marked():
            time.sleep(0.05)

    def marked(self) -> bool:
        return bool(listed(self.bucket, "pending/"))


@pytest.fixture
def scene(emulator: Emulator, tmp_path: Path) -> Iterator[Scene]:
    with Proxy(emulator.url) as proxy:
        made = Scene(emulator, proxy, tmp_path, f"moments-{os.urandom(6).hex()}")
        yield made
        for part in made.parts:
            part.kill()


@pytest.mark.parametrize("answered", ANSWERED)
@pytest.mark.parametrize(
    ("verb", "folder", "number"),
    [
        ("read", "jobs", 1),
        ("replace", "jobs", CLAIM),
        ("read", "images", 1),
        ("create", "results", 1),
        ("replace", "jobs", DONE),
        ("delete", "pending", 1),
    ],
    ids=[
        "the job is read",
        "it is claimed",
        "the image is read",
        "the result is written",
        "it is done",
        "the marker goes",
    ],
)
def test_a_dispatcher_is_killed_when(scene: Scene, verb: str, folder: str, number: int, answered: bool) -> None:
    first, second = scene.dispatcher("first"), scene.dispatcher("second")
    killed = scene.kill_at(first, verb, folder, number, answered=answered)
    image_id = _submit(scene)
    first.start()
    assert killed.wait(60)
    second.start()
    scene.until_ended(1)
    found = audit(scene.bucket, {image_id}, scene.proxy.written)
    assert (found.faults, found.done) == ([], 1)
    assert scene.jobs()[0].attempts <= 2


def _submit(scene: Scene) -> str:
    """Submits past the proxy."""
    store = JobStore(Bucket(scene.name, scene.emulator.client()))
    return store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")


@pytest.mark.parametrize("answered", ANSWERED)
@pytest.mark.parametrize("folder", ["keys", "images", "jobs", "library", "pending"])
def test_a_client_is_killed_when_it_writes(scene: Scene, folder: str, answered: bool) -> None:
    """The restarted client submits the same image under the same key: there is one job."""
    submitter = scene.submitter(1)
    killed = scene.kill_at(submitter, "create", folder, 1, answered=answered)
    submitter.start()
    assert killed.wait(60)
    submitter.kill()
    submitter.start()
    scene.until_ended(1)
    while not submitter.printed():
        time.sleep(0.05)
    found = audit(scene.bucket, set(submitter.printed()), scene.proxy.written)
    assert (found.faults, found.jobs) == ([], 1)


@pytest.mark.parametrize("answered", ANSWERED)
@pytest.mark.parametrize(
    ("verb", "folder", "number"),
    [
        ("create", "images", 1),
        ("create", "jobs", 1),
        ("create", "pending", 1),
        ("replace", "jobs", CLAIM),
        ("read", "images", 1),
    ],
    ids=["it stores the image", "it stores the job", "it stores the marker", "it has claimed it", "it works on it"],
)
def test_a_client_is_cancelled_when(scene: Scene, verb: str, folder: str, number: int, answered: bool) -> None:
    """A client that ends by Ctrl-C leaves no work behind."""
    client = scene.part("impatient", "tests.faults.impatient", "1", "7", str(LEASE))
    cancelled = scene.kill_at(client, verb, folder, number, answered=answered, by=signal.SIGINT)
    client.start()
    assert cancelled.wait(60)
    while client.running:
        time.sleep(0.05)
    assert not scene.marked()
    found = audit(scene.bucket, (), scene.proxy.written)
    assert found.faults == []
    assert found.done == 0
    assert set(found.failed) <= {"cancelled"}


def test_storage_that_spoils_what_is_read_loses_nothing(scene: Scene) -> None:
    scene.proxy.mischief = Mischief(spoil=0.15, lose_answer=0.1)
    image_ids = {_submit(scene) for _ in range(4)}
    scene.dispatcher("first").start()
    scene.until_ended(4)
    found = audit(scene.bucket, image_ids, scene.proxy.written)
    assert (found.faults, found.done) == ([], 4)
    assert scene.proxy.injected["spoil"] > 0
