"""Fine-tuning as a user runs it: a folder in, a checkpoint that serves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grain_handler import models, weights
from grain_handler.models import build_sam_tiny
from tests.unit.training.scripts import log, rock, served, small_vit, untrained
from tools.problem import Problem
from training import finetune
from training.adapters import add_adapters, merged_state


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "MIX", (256,))
    monkeypatch.setattr(finetune, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(finetune, "CROPS", 2)


@pytest.mark.parametrize("encoder", finetune.ENCODERS)
def test_the_loss_falls_and_the_checkpoint_serves(encoder: str, tmp_path: Path) -> None:
    begun = untrained(tmp_path, "sam_tiny")
    command = f"--data {rock(tmp_path / 'rock')} --run {tmp_path / 'run'} --checkpoint {begun} --encoder {encoder}"
    settings = "--steps 18 --every 6 --lr 2e-3 --synthetic 0 --workers 0 --device cpu"
    assert finetune.main((command + " " + settings).split()) == 0

    rows = log(tmp_path / "run")
    assert [row["step"] for row in rows] == [6, 12, 18]
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert served(tmp_path / "run" / "sam_tiny.pth", "sam_tiny")["metadata"]["model"] == "sam_tiny"
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000
    card = (tmp_path / "run" / "card.md").read_text()
    assert "sam_tiny_untrained.pth" in card
    assert encoder in card


@pytest.mark.parametrize("encoder", ["frozen", "lora"])
def test_a_vision_transformer_is_tuned_in_its_whole_frame(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.REGISTRY, "sam_vit_b", small_vit)
    begun = untrained(tmp_path, "sam_vit_b")
    command = f"--model sam_vit_b --data {rock(tmp_path / 'rock')} --run {tmp_path / 'run'} --checkpoint {begun}"
    settings = f"--encoder {encoder} --steps 2 --every 2 --workers 0 --device cpu"
    assert finetune.main([*command.split(), *settings.split()]) == 0
    assert served(tmp_path / "run" / "sam_vit_b.pth", "sam_vit_b")["metadata"]["precision"] == "fp32"


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--data", str(rock(tmp_path / "rock")), "--run", str(tmp_path / "run"), "--workers", "0", "--every", "2"]
    begun = ["--checkpoint", str(untrained(tmp_path, "sam_tiny")), "--encoder", "lora", "--device", "cpu"]
    for steps in ("2", "4"):
        finetune.main([*command, *begun, "--steps", steps])
    assert "resumed" in capsys.readouterr().out
    assert [row["step"] for row in log(tmp_path / "run")] == [2, 4]
    with pytest.raises(Problem, match="was begun with --encoder lora, not full: choose another --run"):
        finetune.main([*command, *begun, "--encoder", "full"])


def test_merged_adapters_answer_as_the_adapted_model() -> None:
    torch.manual_seed(0)
    sam = build_sam_tiny()
    plain = {name: value.clone() for name, value in sam.state_dict().items()}
    add_adapters(sam.image_encoder)
    adapters = {name: value for name, value in sam.named_parameters() if ".lora_" in name}
    assert adapters
    for value in adapters.values():
        value.data.normal_(0, 0.1)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = sam.image_encoder(image)
        again = build_sam_tiny()
        merged = merged_state(sam)
        assert merged.keys() == plain.keys()
        again.load_state_dict(merged)
        torch.testing.assert_close(again.image_encoder(image), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(sam.image_encoder(image), expected)
    assert any(not torch.equal(merged[name], plain[name]) for name in plain)


def test_a_frozen_encoder_stays_as_it_was(tmp_path: Path) -> None:
    begun = untrained(tmp_path, "sam_tiny")
    command = f"--data {rock(tmp_path / 'rock')} --run {tmp_path / 'run'} --checkpoint {begun} --steps 2 --every 2"
    finetune.main([*command.split(), "--workers", "0", "--device", "cpu"])
    before = models.load("sam_tiny", weights.fetch(str(begun), Path()), torch.device("cpu"))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["sam"]
    for name, value in before.image_encoder.state_dict().items():
        assert torch.equal(state[f"image_encoder.{name}"], value)


def test_the_average_is_validated_and_learning_goes_on_from_where_it_was() -> None:
    torch.manual_seed(0)
    tuning = finetune.Tuning.begin(build_sam_tiny(), "frozen", 1e-3)
    token = tuning.sam.mask_decoder.iou_token.weight
    now = token.detach().clone()
    for mean in tuning.average:
        mean.zero_()
    with tuning.averaged() as sam:
        assert all(float(value.detach().abs().max()) == 0 for value in sam.mask_decoder.parameters())
        assert any(float(value.detach().abs().max()) > 0 for value in sam.image_encoder.parameters())
    assert torch.equal(token, now)


def test_the_checkpoint_is_of_the_least_loss_on_images_kept_apart() -> None:
    tuning = finetune.Tuning.begin(build_sam_tiny(), "frozen", 1e-3)
    tuning.history = [
        finetune.Validation(step, 1.0, loss, iou) for step, loss, iou in ((0, 3, 0), (9, 1, 0), (18, 2, 1))
    ]
    assert tuning.best.step == 9


def test_another_model_needs_its_own_weights(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="sam_vit_b needs --checkpoint"):
        finetune.main(["--model", "sam_vit_b", "--data", str(tmp_path), "--run", str(tmp_path / "run")])


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        finetune.main(["--help"])
    text = capsys.readouterr().out
    assert "python -m training.finetune --data rock --run training/runs/rock" in text
    assert "grainserve weights push" in text
