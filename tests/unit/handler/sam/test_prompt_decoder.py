from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.errors import CheckpointError
from grain_handler.sam import models, prompt_decoder
from grain_handler.storage.weights import Checkpoint

HERE = Checkpoint(Path("sam_tiny.pth"), "gs://weights/sam_tiny.pth", None, "AAAAAA==")


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(1)
    return models.build_sam_tiny()


def write(path: Path, held: object) -> Checkpoint:
    torch.save(held, path)
    return Checkpoint(path, str(path), None, "BBBBBB==")


def test_it_takes_the_place_of_the_checkpoint_s_own_and_leaves_the_image_encoder(sam: Sam, tmp_path: Path) -> None:
    torch.manual_seed(2)
    other = models.build_sam_tiny()
    file = write(tmp_path / "decoder.pth", prompt_decoder.content(other, "sam_tiny", HERE.crc32c))
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    prompt_decoder.load(file, "sam_tiny", HERE, sam)
    for name, value in sam.state_dict().items():
        wanted = other.state_dict()[name].half().float() if name.startswith(prompt_decoder.PARTS) else before[name]
        assert torch.equal(value, wanted), name
        assert value.dtype == before[name].dtype


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "grainserve seed head 1"}, "is no prompt decoder"),
        ({"model": "sam_vit_b"}, "was made for sam_vit_b with checkpoint AAAAAA=="),
        ({"checkpoint": "CCCCCC=="}, "was made for sam_tiny with checkpoint CCCCCC=="),
        ({"tensors": {}}, "has other tensors than sam_tiny"),
        ({"tensors": ["none"]}, "has other tensors than sam_tiny"),
        ({"tensors": {"mask_decoder.iou_token.weight": 7}}, "has other tensors than sam_tiny"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(sam: Sam, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    held = prompt_decoder.content(sam, "sam_tiny", HERE.crc32c) | change
    with pytest.raises(CheckpointError, match=said):
        prompt_decoder.load(write(tmp_path / "decoder.pth", held), "sam_tiny", HERE, sam)


def test_a_file_that_cannot_be_read_is_refused(sam: Sam, tmp_path: Path) -> None:
    path = tmp_path / "decoder.pth"
    path.write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=r"cannot be read.*python -m training.clicks"):
        prompt_decoder.load(Checkpoint(path, str(path), None, "BBBBBB=="), "sam_tiny", HERE, sam)
