"""Archives: read within bounds, and put into model stores completely or not at all."""

from __future__ import annotations

import errno
import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.rollout import archives
from grainserve.storage.bucket import Bucket
from tests.unit.client.rollout.imitation import make_mar

LARGE = archives.MOST + 2**20


def bomb(kind: str, path: Path) -> Path:
    """Makes an archive of some kilobytes that unpacks to more than the limit."""
    manifest = json.dumps({"model": {"modelName": "sam_tiny", "modelVersion": "1.0"}}).encode()
    compression = zipfile.ZIP_LZMA if kind == "lzma" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(archives.MANIFEST, manifest if kind == "a member" else manifest + b" " * LARGE)
        if kind == "a member":
            archive.writestr("service.py", bytes(LARGE))
        else:  # the size that it claims is false
            archive.filelist[0].file_size = len(manifest)
    return path


@pytest.mark.parametrize("kind", ["a member", "a false size", "lzma"])
def test_an_archive_that_unpacks_to_more_than_it_may_is_refused_before_it_does(kind: str, tmp_path: Path) -> None:
    path = bomb(kind, tmp_path / "sam_tiny.mar")
    tracemalloc.start()
    with pytest.raises(InvalidConfiguration, match=r"unpacks to 65 MiB, over 64|make mar` packs one"):
        archives.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_manifest_as_deep_as_a_well_is_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deep.mar", "w") as archive:
        archive.writestr(archives.MANIFEST, "[" * 100_000)
    with pytest.raises(InvalidConfiguration, match="is no model archive"):
        archives.read(tmp_path / "deep.mar")


def test_a_full_model_store_keeps_no_part_of_an_archive(
    bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, data = archives.read(make_mar(tmp_path, "1.0"))
    bucket, store = Bucket(bucket_name), tmp_path / "store"
    archives.push(archive, data, bucket)

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            archives.fetch(archive, bucket, store)
    assert list(store.iterdir()) == []
    assert archives.fetch(archive, bucket, store) == archive.file
    assert (store / archive.file).read_bytes() == data
