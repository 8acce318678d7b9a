from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, Sam

from grain_handler.errors import CheckpointError
from grain_handler.sam import models
from grain_handler.storage.weights import Checkpoint


def saved(state: object, folder: Path) -> Checkpoint:
    path = folder / "weights.pth"
    torch.save(state, path)
    return Checkpoint(path, "gs://weights/some.pth", "1", "")


@pytest.fixture
def small_vit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry whose ViTs have a thousandth of the real size, for speed."""

    def build(depth: int) -> Sam:
        tiny = models.build_sam_tiny()
        encoder = ImageEncoderViT(img_size=1024, embed_dim=16, depth=depth, num_heads=2, out_chans=128)
        return Sam(encoder, tiny.prompt_encoder, tiny.mask_decoder)

    monkeypatch.setitem(models.REGISTRY, "sam_vit_b", lambda: build(1))
    monkeypatch.setitem(models.REGISTRY, "sam_vit_l", lambda: build(2))
    monkeypatch.setitem(models.REGISTRY, "sam_vit_h", lambda: build(3))


@pytest.mark.parametrize("half", [False, True])
def test_a_loaded_model_answers_as_the_saved_one(tmp_path: Path, half: bool) -> None:
    torch.manual_seed(0)
    sam = models.build_sam_tiny()
    state = {name: value.half() if half else value for name, value in sam.state_dict().items()}
    sam.load_state_dict(state)
    checkpoint = saved(state, tmp_path)
    loaded = models.load("sam_tiny", checkpoint, torch.device("cpu"))
    image = torch.randint(0, 256, (3, 64, 96)).float()
    point = torch.tensor([[[40.0, 30.0]]])
    query = [{"image": image, "original_size": (64, 96), "point_coords": point, "point_labels": torch.ones(1, 1)}]
    with torch.no_grad():
        (expected,), (answered,) = sam(query, True), loaded(query, True)
    assert torch.equal(expected["iou_predictions"], answered["iou_predictions"])
    assert torch.equal(expected["low_res_logits"], answered["low_res_logits"])
    assert not loaded.training


@pytest.mark.usefixtures("small_vit")
def test_another_models_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoint = saved(models.REGISTRY["sam_vit_b"]().state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match=r"gs://weights/some\.pth is a checkpoint of sam_vit_b.*sam_tiny"):
        models.load("sam_tiny", checkpoint, torch.device("cpu"))


@pytest.mark.usefixtures("small_vit")
def test_a_checkpoint_of_no_known_model_says_where_it_differs(tmp_path: Path) -> None:
    state = models.build_sam_tiny().state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["mask_decoder.iou_token.weight"]
    with pytest.raises(CheckpointError, match=r"does not fit model sam_tiny.*iou_token.*extra\.weight"):
        models.load("sam_tiny", saved(state, tmp_path), torch.device("cpu"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(1000)])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"some\.pth"):
        models.load("sam_tiny", Checkpoint(path, "gs://weights/some.pth", "1", ""), torch.device("cpu"))


class Poison:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, form: str) -> None:
    ran, path = tmp_path / "ran", tmp_path / "poisoned.pth"
    state = {**models.build_sam_tiny().state_dict(), "poison": Poison(ran)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(state["poison"]))
        pickle.loads(path.read_bytes())
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
        torch.load(path, weights_only=False)
    assert ran.exists(), "the poison is none"
    ran.rmdir()
    with pytest.raises(CheckpointError):
        models.load("sam_tiny", Checkpoint(path, "gs://weights/some.pth", "1", ""), torch.device("cpu"))
    assert not ran.exists()


def test_an_unknown_model_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="sam_vit_h"):
        models.load("sam_2", saved({}, tmp_path), torch.device("cpu"))


@pytest.mark.parametrize(("model", "millions"), [("sam_vit_b", 94), ("sam_vit_l", 312), ("sam_vit_h", 641)])
def test_the_official_layouts_are_in_the_registry(model: str, millions: int) -> None:
    with torch.device("meta"):
        sam = models.REGISTRY[model]()
    assert round(sum(parameter.numel() for parameter in sam.parameters()) / 1e6) == millions
