"""Embeddings in a real Redis that is killed and restarted while a real TorchServe answers."""

from __future__ import annotations

import base64
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests.contract.test_handler import TIMEOUT, url
from tests.unit.handler.pictures import encoded
from tests.unit.handler.scenes import noise
from tools import ports
from tools.emulator import Emulator
from tools.redis_server import RedisServer
from tools.stack import Ports, Stack

pytestmark = pytest.mark.timeout(600)
ENTRIES = "grainserve:embedding:*"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with RedisServer(tmp_path / "redis", ports.choose_free(1)[0]) as running:
        yield running


@pytest.fixture
def sharing(redis: RedisServer, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack whose worker shares its embeddings in that Redis."""
    monkeypatch.setenv("GRAINSERVE_REDIS", redis.url)
    with Stack(tmp_path, model_store=tmp_path / "store", ports=Ports.choose_free(), emulator=emulator) as stack:
        yield stack


class Clicks:
    """Clicks on one new image after the other, from a thread."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.enough = stack, threading.Event()
        self.statuses: list[int] = []
        self.thread = threading.Thread(target=self._click)

    def _click(self) -> None:
        while not self.enough.is_set():
            image = base64.b64encode(encoded(noise(32, 32, len(self.statuses)), "PNG")).decode()
            self.statuses.append(ask(self.stack, image=image).status_code)

    def answered(self, more: int) -> None:
        """Waits until so many more have been answered."""
        wanted = len(self.statuses) + more
        until(lambda: len(self.statuses) >= wanted or not self.thread.is_alive())

    def __enter__(self) -> Clicks:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        self.thread.join()


def ask(stack: Stack, **body: Any) -> requests.Response:
    return requests.post(url(stack), json={"prompts": [{"points": [[9, 9]]}], **body}, timeout=TIMEOUT)


def until(condition: Callable[[], bool]) -> None:
    ended = threading.Event()
    while not condition():
        ended.wait(0.05)


def test_every_click_is_answered_while_redis_is_killed_and_comes_back(sharing: Stack, redis: RedisServer) -> None:
    def stored() -> bool:
        return any(redis.client.scan_iter(ENTRIES))

    with Clicks(sharing) as clicks:
        until(stored)
        redis.kill()
        clicks.answered(3)
        redis.start()
        until(stored)  # the worker leaves Redis alone for some seconds, and comes back to it
        clicks.answered(1)
    assert set(clicks.statuses) == {200}


def test_a_worker_answers_about_an_image_that_another_one_has_seen(sharing: Stack, redis: RedisServer) -> None:
    image = base64.b64encode(encoded(noise(32, 32, 7), "PNG")).decode()
    first = ask(sharing, image=image).json()
    until(lambda: any(redis.client.scan_iter(ENTRIES)))
    for child in psutil.Process(sharing.torchserve.pid).children(recursive=True):
        child.send_signal(signal.SIGKILL)
    until(lambda: ask(sharing, image=image, imageDigest="no digest").status_code == 422)  # there is a worker again
    again = ask(sharing, imageDigest=first["metadata"]["imageDigest"]).json()
    one, other = ([each["predictedIou"] for each in answer["segmentedObjects"]] for answer in (first, again))
    assert np.allclose(one, other, atol=0.01), "the embedding is in half precision"
