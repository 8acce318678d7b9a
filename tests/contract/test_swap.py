"""Swaps at a real TorchServe, under load."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from grainserve.rollout.declared import Declarations
from grainserve.rollout.reconcile import Reconciliation
from grainserve.rollout.swap import Rollout
from grainserve.rollout.versions import NotReady, Versions
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.management import Management
from tests.contract.conftest import Pack
from tools.stack import Stack
from tools.torchserve import TorchServe

TWO = "minWorkers: 2\nmaxWorkers: 2\n"


@pytest.fixture
def rollout(server: TorchServe, stack: Stack, environment: dict[str, str]) -> Rollout:
    name = f"weights-{uuid.uuid4().hex}"
    stack.emulator.create_bucket(name)
    bucket = Bucket(name)
    return Rollout(
        Versions(Management(server.management), server.model_store, bucket, print), Declarations(bucket), 120.0, 60.0
    )


@dataclass
class Load:
    """Clients that send requests without a pause.

    Attributes:
        answers: time of each request, and the version that answered.
        lost: errors in place of an answer.
    """

    answers: list[tuple[float, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@contextmanager
def load(server: TorchServe, clients: int) -> Iterator[Load]:
    found, enough = Load(), threading.Event()

    def ask() -> None:
        while not enough.is_set():
            asked = time.monotonic()
            try:
                answer = requests.post(f"{server.inference}/predictions/probe", data=b"sleep 0.05", timeout=60)
            except requests.RequestException as error:
                found.lost.append(repr(error))
                continue
            if answer.ok:
                found.answers.append((asked, answer.json()["version"]))
            else:
                found.lost.append(answer.text)

    with ThreadPoolExecutor(clients) as pool:
        for _ in range(clients):
            pool.submit(ask)
        try:
            yield found
        finally:
            enough.set()


@contextmanager
def watching(rollout: Rollout) -> Iterator[None]:
    """`grainserve models apply --watch` at the same TorchServe."""
    enough = threading.Event()

    def watch() -> None:
        while not enough.wait(0.3):
            Reconciliation(rollout).apply(wait=False)

    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(watch)
        try:
            yield
        finally:
            enough.set()
        watched.result()


def test_versions_are_swapped_under_load_without_a_lost_request(
    server: TorchServe, rollout: Rollout, pack_probe: Pack
) -> None:
    rollout.swap(pack_probe("1.0", "one", TWO))
    with load(server, 6) as asked, watching(rollout):
        time.sleep(0.5)
        rollout.swap(pack_probe("2.0", "two", TWO))
        switched = time.monotonic()
        with pytest.raises(NotReady, match="keep ending"):
            rollout.swap(pack_probe("3.0", "broken"))
        before_back = time.monotonic()
        rollout.rollback("probe")
        back = time.monotonic()
        time.sleep(0.5)
    assert asked.lost == []
    # Clients send new requests all the time, and get answers within a second or two.
    assert {version for asked_at, version in asked.answers if switched < asked_at < before_back - 3} == {"2.0"}
    assert {version for asked_at, version in asked.answers if asked_at > back} == {"1.0"}
    assert list(rollout.versions.management.versions("probe")) == ["1.0"]


def test_a_version_goes_when_its_slowest_worker_has_answered(
    server: TorchServe, rollout: Rollout, pack_probe: Pack
) -> None:
    """Meanwhile the other worker answers every question: the queue's order tells nothing about a second worker."""
    rollout.register(pack_probe("1.0", "one"))
    rollout.register(pack_probe("2.0", "two", TWO))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(requests.post, f"{server.inference}/predictions/probe/2.0", data=b"sleep 4", timeout=60)
        time.sleep(0.5)
        rollout.remove("probe", "2.0")
        assert slow.result().json()["mark"] == "two"
    assert list(rollout.versions.management.versions("probe")) == ["1.0"]


def test_apply_brings_back_what_torchserve_forgot(server: TorchServe, rollout: Rollout, pack_probe: Pack) -> None:
    rollout.swap(pack_probe("1.0", "one"))
    rollout.versions.management.delete("probe", "1.0")
    for file in Path(server.model_store).glob("probe-*"):
        file.unlink()
    Reconciliation(rollout).apply()
    assert requests.post(f"{server.inference}/predictions/probe", data=b"x", timeout=60).json()["mark"] == "one"
