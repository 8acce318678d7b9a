"""What the storage library does behind our back, and what its errors become."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grainserve.errors import StorageFull, StorageUnreachable
from grainserve.gateway.readiness import Readiness
from grainserve.protocol import JobStore
from grainserve.storage import EMULATOR, Bucket, check_emulator
from tools.ports import LOOPBACK, choose_free
from tools.stack import Emulator


def test_a_call_is_one_call(bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    bucket, asked = Bucket(bucket_name), []
    bucket.client._http.hooks["response"].append(lambda response, **_: asked.append(response.url))
    assert bucket.read("nothing") is None
    assert len(asked) == 1
    assert started == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that a test can fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)]
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("no small disk to fill: it takes Linux")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small disk to fill: mounting one takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(file: Path) -> None:
    """Writes until there is no room."""
    with file.open("wb", buffering=0) as opened:
        while True:
            opened.write(bytes(2**20))


def test_a_full_disk_is_told_as_that_until_there_is_room(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "gcs.log"
    with Emulator(small_disk / "gcs", port=choose_free(1)[0], log=log, say=lambda _: None) as emulator:
        monkeypatch.setenv(EMULATOR, emulator.url)
        emulator.create_bucket("full")
        bucket = Bucket("full", patience=1)
        readiness = Readiness(JobStore(bucket), None, "sam_tiny", None)
        filling = small_disk / "other"
        with pytest.raises(OSError, match="No space left"):
            fill(filling)
        with pytest.raises(
            StorageFull, match=r"no room left in storage \(writing a .*no space left on device.*free disk"
        ):
            bucket.create("a", bytes(2**20), "text/plain")
        assert readiness._bucket() == "storage_full"
        filling.unlink()
        assert readiness._bucket() is None
        bucket.create("a", b"a", "text/plain")
        assert list(bucket.names("")) == ["a"]


def test_an_emulator_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://{LOOPBACK}:{choose_free(1)[0]}"
    monkeypatch.setenv(EMULATOR, address)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("no second try"))
    with pytest.raises(StorageUnreachable, match=rf"is the emulator at {address} .* running\? `make serve` starts one"):
        check_emulator()


def test_a_call_that_gets_no_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, f"http://{LOOPBACK}:{choose_free(1)[0]}")
    with pytest.raises(StorageUnreachable, match=r"\(reading a in bucket 'b-1': .*refused"):
        Bucket("b-1", patience=0.5).read("a")
