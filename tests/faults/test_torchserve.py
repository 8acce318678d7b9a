"""Faults of a real TorchServe with a real model: its worker is killed, then TorchServe, then versions are swapped.

Workers are killed while they answer prompts, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from grainserve.errors import AnswerLost, TorchServeBusy, WorkerDied
from grainserve.jobs.job import State
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.faults.audit import audit
from tests.faults.part import Part
from tools import mar, ports
from tools.stack import Ports, Stack
from training.synthetic import synthesize

QUICK = {"points_per_side": 4, "points": "grid", "crop_n_layers": 0}


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that may be broken."""
    emulator_port = ports.choose_free(1)[0]
    with Stack(
        tmp_path, model_store=tmp_path / "model_store", ports=Ports.choose_free(), emulator_port=emulator_port
    ) as stack:
        yield stack


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_worker_and_torchserve_die_and_versions_are_swapped_and_every_image_is_measured(
    own_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_stack.torchserve
    for name, value in own_stack.environment.items():
        monkeypatch.setenv(name, value)
    store = JobStore(Bucket(own_stack.environment["GRAINSERVE_BUCKET"]))
    truth = synthesize(np.random.default_rng(3), "matrix", 96, 96, grain_px=24)
    file = tmp_path / "matrix.png"
    Image.fromarray(truth.image).save(file)
    image = file.read_bytes()
    ids: list[str] = []
    enough = threading.Event()

    def submit() -> None:
        """Keeps a few images submitted at all times, until told to stop."""
        while not enough.is_set():
            if store.pending.count(4) < 4:
                options = dict(QUICK)
                ids.append(store.submit(image, model="sam_tiny", version=None, options=options, submitter="lab"))
            enough.wait(0.1)

    def done() -> int:
        return sum(store.job(image_id).state is State.DONE for image_id in list(ids))

    arguments = ["dispatch", "--concurrency", "2", "--lease", "5"]
    dispatcher = Part("dispatcher", "grainserve", arguments, own_stack.environment, tmp_path / "dispatcher")
    submitter = threading.Thread(target=submit)
    submitter.start()
    dispatcher.start()
    try:
        until(lambda: done() >= 1)
        for child in psutil.Process(server.pid).children(recursive=True):
            child.send_signal(signal.SIGKILL)  # the worker
        until(lambda: done() >= 3)

        os.kill(server.pid, signal.SIGKILL)
        server.stop()  # orphaned workers of the killed TorchServe
        server.start()
        server.register(mar.pack("sam_tiny", "1.0", out=server.model_store / "again.mar"))
        until(lambda: done() >= 5)

        # Removes the old version as docs/fine_tuning.md says.
        server.register(mar.pack("sam_tiny", "2.0", out=server.model_store / "sam_tiny_2.mar"))
        assert requests.put(f"{server.management}/models/sam_tiny/2.0/set-default", timeout=60).ok
        until(lambda: (server.describe("sam_tiny", "1.0") or {})["jobQueueStatus"]["pendingRequests"] == 0)
        assert requests.get(f"{server.management}/models/sam_tiny/1.0?customized=true", timeout=60).ok
        assert requests.delete(f"{server.management}/models/sam_tiny/1.0", timeout=120).ok
        before = done()
        until(lambda: done() >= before + 2)
        enough.set()
        until(lambda: all(store.job(image_id).ended for image_id in ids))
    finally:
        enough.set()
        submitter.join()
        dispatcher.kill()
    found = audit(own_stack.emulator.client().bucket(store.bucket.name), set(ids), {})
    assert (found.faults, found.done) == ([], len(ids)), dict(found.failed)
    versions = {store.result(image_id)["metadata"]["version"] for image_id in ids}
    assert versions == {"1.0", "2.0"}
    assert sum(store.job(image_id).attempts > 1 for image_id in ids) <= 4, "only what was in hand is done again"


@pytest.mark.timeout(600)
def test_prompts_are_answered_or_may_be_asked_again_while_workers_die(own_stack: Stack) -> None:
    """Each request gets the answer to its own prompts, or an error after which nothing was changed anywhere."""
    server = TorchServe(own_stack.torchserve.inference, None)
    image = BytesIO()
    Image.fromarray(synthesize(np.random.default_rng(3), "matrix", 96, 96, grain_px=24).image).save(image, "PNG")
    enough = threading.Event()
    answered, failed, wrong = list[str](), list[str](), list[BaseException]()

    def ask(client: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            image_id = f"client-{client}-{number}"
            prompts = [{"points": [[10 + each, 10 + client]]} for each in range(1 + number % 3)]
            try:
                found = server.segment("sam_tiny", None, image.getvalue(), prompts, image_id)
                assert found["metadata"]["imageId"] == image_id
                assert len(found["prompts"]) == len(prompts)
                answered.append(image_id)
            except (WorkerDied, TorchServeBusy, AnswerLost) as error:
                failed.append(error.code)
                enough.wait(0.1)
            except BaseException as error:
                wrong.append(error)
                raise

    def progressed() -> None:
        """Waits until each client has had an answer since now."""
        before = len(answered)
        until(lambda: len({each.rsplit("-", 1)[0] for each in answered[before:]}) == len(clients) or bool(wrong))

    clients = [threading.Thread(target=ask, args=[number]) for number in range(3)]
    for client in clients:
        client.start()
    try:
        progressed()
        for _ in range(3):
            for child in psutil.Process(own_stack.torchserve.pid).children(recursive=True):
                child.send_signal(signal.SIGKILL)
            progressed()
    finally:
        enough.set()
        for client in clients:
            client.join()
    assert not wrong
    assert failed, "no request was in hand when a worker died"
    assert len(answered) == len(set(answered))
