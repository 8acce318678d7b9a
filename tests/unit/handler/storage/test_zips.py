from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from grain_handler.errors import CheckpointError
from grain_handler.sam import models
from grain_handler.storage.weights import Checkpoint
from grain_handler.storage.zips import check_stored


def test_what_torch_saves_is_stored(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "some.pth")
    check_stored(tmp_path / "some.pth")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_archive_is_refused_and_what_it_would_unpack_to_is_said(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w", compression) as archive:
        archive.writestr("data.pkl", bytes(7 * 2**20))
    with pytest.raises(zipfile.BadZipFile, match="is compressed, and would unpack to 7 MiB"):
        check_stored(tmp_path / "some.zip")


def test_a_compressed_checkpoint_is_not_read(tmp_path: Path) -> None:
    whole, compressed = tmp_path / "whole.pth", tmp_path / "compressed.pth"
    torch.save(models.build_sam_tiny().state_dict(), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    cpu = torch.device("cpu")
    models.load("sam_tiny", Checkpoint(whole, "gs://weights/some.pth", "1", ""), cpu)
    with pytest.raises(CheckpointError, match=r"some\.pth is not a checkpoint of tensors: it is compressed"):
        models.load("sam_tiny", Checkpoint(compressed, "gs://weights/some.pth", "1", ""), cpu)
