"""A real GCS emulator and an imitation of TorchServe for the client's tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud import storage

from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.faults.proxy import Proxy
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.client.made import make_image
from tests.unit.client.memory_bucket import MemoryBucket
from tools.ports import choose_free
from tools.stack import Emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("gcs")
    with Emulator(folder / "objects", port=choose_free(1)[0], log=folder / "gcs.log", say=lambda _: None) as running:
        yield running


@pytest.fixture
def gcs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> storage.Client:
    """The emulator, set in the environment for all code under test."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    return emulator.client()


@pytest.fixture
def bucket_name(gcs: storage.Client, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, named by GRAINSERVE_BUCKET."""
    name = f"test-{uuid.uuid4().hex}"
    gcs.create_bucket(name)
    monkeypatch.setenv("GRAINSERVE_BUCKET", name)
    monkeypatch.setenv("GRAINSERVE_SUBMITTER", "lab")
    return name


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """A fresh bucket: in memory, or at the emulator for tests that also use the emulator directly."""
    if "gcs" in request.fixturenames:
        return Bucket(request.getfixturevalue("bucket_name"))
    return MemoryBucket()


@pytest.fixture
def store(bucket: Bucket) -> JobStore:
    return JobStore(bucket)


@pytest.fixture
def proxy(emulator: Emulator, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of the emulator for all later requests."""
    with Proxy(emulator.url) as between:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        yield between


@pytest.fixture
def names(gcs: storage.Client, bucket_name: str) -> Callable[[], set[str]]:
    """Returns the present names of all objects in the bucket."""
    return lambda: {blob.name for blob in gcs.list_blobs(bucket_name)}


@pytest.fixture
def torchserve(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTorchServe]:
    with FakeTorchServe() as server:
        monkeypatch.setenv("GRAINSERVE_TORCHSERVE", server.url)
        monkeypatch.setenv("GRAINSERVE_MANAGEMENT", server.url)
        yield server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image of the size of `make_result`'s frame."""

    path = tmp_path / "sand.png"
    make_image().save(path)
    return path
