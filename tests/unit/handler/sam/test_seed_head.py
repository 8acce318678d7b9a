"""Seeds for a SAM whose encoder predicts none: the seed head's file, its use, and the error if it is missing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from grain_handler import service
from grain_handler.errors import CheckpointError, NoSeeds
from grain_handler.sam import models, seed_head
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.models import build_sam_tiny
from grain_handler.sam.precision import image_encoder
from grain_handler.sam.seed_head import SeedHead
from grain_handler.sam.tiny_encoder import SEED_CHANNELS, SEED_HEAD
from grain_handler.storage.weights import Checkpoint
from grainserve import contract
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded, gradient
from tests.unit.training.scripts import small_vit, untrained

PNG = encoded(gradient(), "PNG")


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return small_vit()


@pytest.fixture
def vit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the checkpoint of a small ViT that is served as sam_vit_b."""
    monkeypatch.setitem(models.REGISTRY, "sam_vit_b", small_vit)
    return untrained(tmp_path, "sam_vit_b")


def made(channels: int = 32, seed: int = 1) -> SeedHead:
    """Makes a head of random numbers that finds no grain."""
    torch.manual_seed(seed)
    head = SeedHead(channels).eval()
    assert head.maps.bias is not None
    head.maps.bias.data[2] = -50
    return head


def saved(folder: Path, head: SeedHead, model: str = "sam_vit_b") -> Checkpoint:
    path = folder / "seeds.pth"
    torch.save(seed_head.content(head, model), path)
    return Checkpoint(path, "gs://weights/seeds.pth", "1", "")


def test_a_loaded_head_answers_as_the_saved_one(sam: Sam, tmp_path: Path) -> None:
    head = made().half().float()
    loaded = seed_head.load(saved(tmp_path, head), "sam_vit_b", sam)
    embedding = torch.randn(2, 32, 64, 64)
    with torch.no_grad():
        maps = loaded(embedding)
        assert maps.shape == (2, SEED_CHANNELS, 128, 128)
        assert torch.equal(maps, head(embedding))
    assert not loaded.training


def text(folder: Path) -> Checkpoint:
    (folder / "seeds.pth").write_text("no tensors")
    return Checkpoint(folder / "seeds.pth", "gs://weights/seeds.pth", "1", "")


def a_checkpoint(folder: Path) -> Checkpoint:
    torch.save(build_sam_tiny().state_dict(), folder / "seeds.pth")
    return Checkpoint(folder / "seeds.pth", "gs://weights/seeds.pth", "1", "")


def compressed(folder: Path) -> Checkpoint:
    file = saved(folder, made())
    with zipfile.ZipFile(file.path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file.path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        (compressed, "cannot be read, it is damaged or no seed head"),
        (text, "cannot be read, it is damaged or no seed head"),
        (a_checkpoint, "is no seed head"),
        (lambda folder: saved(folder, made(), "sam_vit_h"), "is a seed head of sam_vit_h, but the model is sam_vit_b"),
        (lambda folder: saved(folder, made(48)), r"reads embeddings of 48 channels, .* sam_vit_b, which have 32"),
    ],
)
def test_another_file_is_refused_with_what_to_do(
    file: Callable[[Path], Checkpoint], fault: str, sam: Sam, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"gs://weights/seeds\.pth {fault}: python -m training\.seeds"):
        seed_head.load(file(tmp_path), "sam_vit_b", sam)


class InHand(nn.Module):
    """An encoder that replaces the model's own, as a compiled one does."""

    def __init__(self, sam: Sam, precision: str) -> None:
        super().__init__()
        self.encoder = image_encoder(sam.image_encoder, precision)

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(images)
        return embedding


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ready", [False, True])
def test_the_map_is_read_off_each_images_own_embedding(sam: Sam, precision: str, ready: bool) -> None:
    head = made()
    encoder = InHand(sam, precision) if ready else None
    images = [np.full((40, 60, 3), level, np.uint8) for level in (30, 200)]
    generator = MaskGenerator(sam, precision, encoder=encoder, seed_head=head)
    assert generator.predicts_seeds
    first, second = generator.embed(images)
    assert not torch.equal(first.tokens, second.tokens)
    for each in (first, second):
        with torch.inference_mode():
            torch.testing.assert_close(each.seed_map, head(each.tokens)[0], atol=1e-4, rtol=1e-4)


def test_without_a_head_seeds_are_refused_and_a_grid_is_not(sam: Sam) -> None:
    generator = MaskGenerator(sam)
    assert not generator.predicts_seeds
    image = gradient()
    with pytest.raises(NoSeeds, match=r"python -m training\.seeds makes one"):
        generator.generate(image, MaskSettings(2, points="seeds"))
    generator.generate(image, MaskSettings(1, points="grid"))


def serving(checkpoint: Path, **section: Any) -> service.GrainHandler:
    handler = service.GrainHandler()
    handler.initialize(Context(checkpoint, model="sam_vit_b", precision="fp32", **section))
    return handler


def ask(handler: service.GrainHandler, **options: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(handler.handle([{"image": PNG} | options], handler.context)[0])
    return answer


def test_a_worker_with_a_head_asks_at_seeds_and_says_whose(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path, made())
    monkeypatch.setenv("FOLDER", str(tmp_path))
    handler = serving(vit, seeds="${FOLDER}/seeds.pth", defaults={"points": "seeds"})
    answer = ask(handler)
    contract.validate_result(answer)
    assert answer["metadata"]["options"]["points"] == "seeds"
    assert answer["segmentedObjects"] == [], "the head sees none"
    about = answer["metadata"]["seedHead"]
    assert about == handler.describe_handle()["seedHead"]
    assert about["uri"] == str(file.path)
    assert about["crc32c"] != answer["metadata"]["checkpoint"]["crc32c"]


def test_a_worker_without_one_refuses_seeds_and_says_how_to_get_them(vit: Path) -> None:
    handler = serving(vit)
    answer = ask(handler, points=b"seeds")
    assert handler.context.statuses == {0: 422}
    contract.validate_error(answer)
    assert answer["error"]["code"] == "no_seeds"
    assert "python -m training.seeds" in answer["error"]["message"]
    plain = ask(handler, points_per_side=b"1")
    assert handler.context.statuses == {0: 200}
    assert "seedHead" not in plain["metadata"]
    assert handler.describe_handle()["seedHead"] is None


def test_a_worker_whose_config_asks_for_seeds_that_nobody_predicts_does_not_start(vit: Path) -> None:
    with pytest.raises(CheckpointError, match=r"defaults say points: seeds, but this sam_vit_b predicts none"):
        serving(vit, defaults={"points": "seeds"})


def test_a_checkpoint_of_before_seeds_starts_with_a_grid_alone(tmp_path: Path) -> None:
    state = {name: value for name, value in build_sam_tiny().state_dict().items() if not name.startswith(SEED_HEAD)}
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(CheckpointError, match="this sam_tiny predicts none"):
        service.GrainHandler().initialize(Context(tmp_path / "old.pth", defaults={"points": "seeds"}))
    service.GrainHandler().initialize(Context(tmp_path / "old.pth"))


def test_a_model_that_predicts_seeds_takes_no_head(tmp_path: Path) -> None:
    path, head = untrained(tmp_path, "sam_tiny"), saved(tmp_path, made(128), "sam_tiny")
    with pytest.raises(CheckpointError, match="sam_tiny takes its seeds from its own checkpoint and no seed head"):
        service.GrainHandler().initialize(Context(path, seeds=str(head.path)))
