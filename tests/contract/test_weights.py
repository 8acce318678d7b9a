"""Checkpoints from storage: complete, verified, downloaded once, and resumed after any interruption."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import google_crc32c
import numpy as np
import pytest
from filelock import FileLock
from google.cloud.storage import Blob

from grain_handler.errors import CheckpointError
from grain_handler.storage import weights
from tests.faults.proxy import Call, Proxy
from tools.emulator import Emulator

RANGE = 64 * 1024
CONTENT = np.random.default_rng(0).bytes(3 * RANGE + 100)
Put = Callable[..., str]


@pytest.fixture
def put(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Uploads content to the test's own bucket, always under the same name unless one is given; returns its URI."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    monkeypatch.setattr(weights, "RANGE_BYTES", RANGE)
    bucket = emulator.create_bucket(f"weights-{uuid4().hex}")

    def upload(content: bytes, name: str = "folder/my sam.pth") -> str:
        bucket.blob(name).upload_from_string(content)
        return f"gs://{bucket.name}/{name}"

    return upload


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records the start of every range that is downloaded."""
    starts: list[int] = []
    download = Blob.download_as_bytes

    def counted(self: Blob, *, start: int, **rest: Any) -> bytes:
        data: bytes = download(self, start=start, **rest)
        starts.append(start)
        return data

    monkeypatch.setattr(Blob, "download_as_bytes", counted)
    return starts


def test_downloaded_in_ranges_and_verified(put: Put, ranges: list[int], tmp_path: Path) -> None:
    uri = put(CONTENT)
    checkpoint = weights.fetch(uri, tmp_path)
    assert checkpoint.path.read_bytes() == CONTENT
    assert ranges == [0, RANGE, 2 * RANGE, 3 * RANGE]
    assert checkpoint.uri == uri
    assert base64.b64decode(checkpoint.crc32c) == google_crc32c.Checksum(CONTENT).digest()
    assert checkpoint.generation is not None


def test_the_second_worker_downloads_nothing(put: Put, ranges: list[int], tmp_path: Path) -> None:
    uri = put(CONTENT)
    first = weights.fetch(uri, tmp_path)
    ranges.clear()
    assert weights.fetch(uri, tmp_path) == first
    assert ranges == []


@pytest.mark.parametrize("place", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_cached_file_that_has_changed_is_fetched_again(
    put: Put, ranges: list[int], tmp_path: Path, place: int
) -> None:
    uri = put(CONTENT)
    path = weights.fetch(uri, tmp_path).path
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([CONTENT[place] ^ 1]))
    ranges.clear()
    fetched = weights.fetch(uri, tmp_path)
    assert (fetched.path, fetched.source) == (path, "download")
    assert path.read_bytes() == CONTENT
    assert ranges[0] == 0
    assert weights.fetch(uri, tmp_path).source == "cache"


def aged(path: Path, seconds: float) -> Path:
    """Sets the age of a cached file, s since it was fetched."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("name", ["sam-{}.pth", "sam.pth"], ids=["a name for each release", "generations of one name"])
def test_the_files_fetched_last_stay(put: Put, ranges: list[int], tmp_path: Path, name: str) -> None:
    uris, kept = [], []
    for number in range(weights.KEPT + 2):
        uri = put(bytes([number]) + CONTENT, name.format(number))
        fetched = weights.fetch(uri, tmp_path)
        uris.append(f"{uri}#{fetched.generation}")
        kept.append(aged(fetched.path, 10_000 - number))
        # A worker that still uses the first file keeps it.
        assert kept[0].exists()
        aged(kept[0], 9_000 - number)
    assert [path.exists() for path in kept] == [True, False, False, *[True] * (weights.KEPT - 1)]
    ranges.clear()
    weights.fetch(uris[-1], tmp_path)
    assert ranges == []


def test_what_was_fetched_a_moment_ago_stays(put: Put, tmp_path: Path) -> None:
    """A worker may have the file's path and not have opened it yet."""
    kept = [weights.fetch(put(CONTENT, f"sam-{number}.pth"), tmp_path).path for number in range(weights.KEPT + 2)]
    for number, path in enumerate(kept):
        aged(path, weights.FRESH_SECONDS - 60 - number)
    kept.append(weights.fetch(put(CONTENT, "new.pth"), tmp_path).path)
    assert all(path.exists() for path in kept)


def test_what_another_worker_is_fetching_stays(put: Put, tmp_path: Path) -> None:
    old = [
        aged(weights.fetch(put(CONTENT, f"sam-{number}.pth"), tmp_path).path, 10_000 - number)
        for number in range(weights.KEPT)
    ]
    with FileLock(old[0].with_name(old[0].name + ".lock")):
        weights.fetch(put(CONTENT, "new.pth"), tmp_path)
        assert all(path.exists() for path in old)
    weights.fetch(put(CONTENT, "newer.pth"), tmp_path)
    assert [path.exists() for path in old] == [False, False, True, True]


def test_interrupted_downloads_count_and_nothing_else_is_touched(put: Put, tmp_path: Path) -> None:
    partial = partial_of(put(CONTENT, "interrupted.pth"), tmp_path)
    partial.write_bytes(CONTENT[:RANGE])
    aged(partial, 20_000)
    mine = [tmp_path / "sam_vit_h.pth", partial.parent / "notes.txt", tmp_path / "2024" / "1"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.touch()
        aged(file, 30_000)
    for number in range(weights.KEPT):
        assert partial.exists()
        aged(weights.fetch(put(CONTENT, f"sam-{number}.pth"), tmp_path).path, 10_000)
    assert not partial.exists()
    assert all(file.exists() for file in mine)


def test_many_workers_at_once_download_once(put: Put, ranges: list[int], tmp_path: Path) -> None:
    uri = put(CONTENT)
    with ThreadPoolExecutor(6) as pool:
        checkpoints = set(pool.map(lambda _: weights.fetch(uri, tmp_path), range(6)))
    assert len(checkpoints) == 1
    assert len(ranges) == 4


def test_new_content_under_an_old_name_is_another_file(put: Put, tmp_path: Path) -> None:
    old = weights.fetch(put(CONTENT), tmp_path)
    new = weights.fetch(put(b"new weights"), tmp_path)
    assert new.generation != old.generation
    assert new.path.read_bytes() == b"new weights"
    assert old.path.read_bytes() == CONTENT
    pinned = weights.fetch(f"{new.uri}#{new.generation}", tmp_path)
    assert (pinned.path, pinned.generation) == (new.path, new.generation)


def test_an_interrupted_download_goes_on_where_it_stopped(
    put: Put, ranges: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(CONTENT)
    counted = Blob.download_as_bytes

    def failing(self: Blob, *, start: int, **rest: Any) -> bytes:
        if start >= 2 * RANGE:
            raise KeyboardInterrupt
        data: bytes = counted(self, start=start, **rest)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(Blob, "download_as_bytes", failing)
        with pytest.raises(KeyboardInterrupt):
            weights.fetch(uri, tmp_path)
    ranges.clear()
    assert weights.fetch(uri, tmp_path).path.read_bytes() == CONTENT
    assert ranges == [2 * RANGE, 3 * RANGE]


def partial_of(uri: str, cache: Path) -> Path:
    """Makes the partial file of a download of `uri`, from a complete download."""
    path = weights.fetch(uri, cache).path
    path.unlink()
    return path.with_name(path.name + ".partial")


@pytest.mark.parametrize("length", [RANGE, len(CONTENT), len(CONTENT) + 5])
def test_a_damaged_partial_download_is_thrown_away(put: Put, tmp_path: Path, length: int) -> None:
    uri = put(CONTENT)
    partial = partial_of(uri, tmp_path)
    partial.write_bytes(bytes(length))
    assert weights.fetch(uri, tmp_path).path.read_bytes() == CONTENT
    assert not partial.exists()


def test_a_download_follows_no_link(put: Put, ranges: list[int], tmp_path: Path) -> None:
    uri = put(CONTENT)
    partial = partial_of(uri, tmp_path / "cache")
    other = tmp_path / "of another.txt"
    other.write_bytes(b"precious")
    partial.symlink_to(other)
    ranges.clear()
    with pytest.raises(CheckpointError, match=r"\.partial.*cannot be opened.*find out who put it there"):
        weights.fetch(uri, tmp_path / "cache")
    assert other.read_bytes() == b"precious"
    assert ranges == []
    partial.unlink()
    assert weights.fetch(uri, tmp_path / "cache").path.read_bytes() == CONTENT


def test_a_checkpoint_is_read_by_its_name_and_not_where_an_answer_leads(
    put: Put, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(CONTENT)
    with Proxy(emulator.url) as between:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        assert weights.fetch(uri, tmp_path).path.read_bytes() == CONTENT
    # The link in the look-up's answer names the emulator itself.
    assert between.calls == {"look up folder": 1, "read folder": 4}


@pytest.mark.parametrize("verb", ["look up", "read"])
def test_a_worker_follows_no_redirect(
    put: Put, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    uri = put(CONTENT)
    with Proxy(emulator.url) as elsewhere, Proxy(emulator.url) as between:
        led_there: list[Call] = []
        elsewhere.before = led_there.append
        moved = (307, [("Location", f"{elsewhere.url}/")], b"")
        between.instead = lambda call: moved if call.verb == verb else None
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)
        with pytest.raises(CheckpointError, match="cannot be downloaded"):
            weights.fetch(uri, tmp_path)
    assert led_there == []


def test_damage_on_the_way_is_an_error_and_nothing_is_kept(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(CONTENT)
    download = Blob.download_as_bytes
    monkeypatch.setattr(Blob, "download_as_bytes", lambda self, **rest: b"\0" + download(self, **rest)[1:])
    with pytest.raises(CheckpointError, match=r"arrived damaged: its CRC32C is .* the object's is"):
        weights.fetch(uri, tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []


def test_a_full_disk_is_said_before_the_download(
    put: Put, ranges: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put(CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(CheckpointError, match="GRAINSERVE_WEIGHTS_CACHE"):
        weights.fetch(uri, tmp_path)
    assert ranges == []


def test_no_such_object_says_how_to_put_it_there(put: Put, tmp_path: Path) -> None:
    uri = put(CONTENT)
    for missing in (uri + ".gone", f"{uri}#12345", f"gs://no-such-bucket-{uuid4().hex}/x.pth"):
        with pytest.raises(CheckpointError, match=r"no such object.*weights push"):
            weights.fetch(missing, tmp_path)


@pytest.mark.parametrize("uri", ["gs://", "gs://bucket", "gs://bucket/", "gs://bucket/x#new"])
def test_a_uri_that_names_no_object(uri: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint URI"):
        weights.fetch(uri, tmp_path)


def test_local_files(tmp_path: Path) -> None:
    path = tmp_path / "my sam.pth"
    path.write_bytes(CONTENT)
    plain, as_uri = weights.fetch(str(path), tmp_path), weights.fetch(path.as_uri(), tmp_path)
    assert plain.path == as_uri.path == path
    assert plain.crc32c == as_uri.crc32c == base64.b64encode(google_crc32c.Checksum(CONTENT).digest()).decode()
    assert plain.generation is None
    with pytest.raises(CheckpointError, match="no such file"):
        weights.fetch(str(path) + ".gone", tmp_path)
