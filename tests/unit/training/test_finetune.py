"""Fine-tuning as a user runs it: a folder in, a checkpoint that serves out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.sam import models
from grain_handler.sam.models import build_sam_tiny
from grain_handler.storage import weights
from tests.unit.training.scripts import interrupt, log, rock, served, small_vit, untrained
from tools.mar import ROOT
from tools.problem import Problem
from training import finetune, forward
from training.adapters import add_adapters, merged_state
from training.crops import UNKNOWN, Batch, CropStream
from training.losses import dense_targets
from training.synthetic import synthesize


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "SIDES", (256,))
    monkeypatch.setattr(finetune, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(finetune, "CROPS", 2)


@pytest.fixture(scope="module")
def batch() -> Batch:
    made = synthesize(np.random.default_rng(3), "loose", 256, 256)
    stream = CropStream(3, crops=1, prompts=2, source=lambda _: (made.image, made.labels), sides=(256,))
    return next(iter(stream))


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


def test_a_run_goes_on_where_it_stopped_and_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, begun = tmp_path / "run", rock(tmp_path / "rock"), untrained(tmp_path, "sam_tiny")
    command = ["--data", str(data), "--run", str(run), "--checkpoint", str(begun), "--encoder", "lora"]
    command += ["--steps", "4", "--every", "2", "--workers", "0", "--device", "cpu"]
    interrupt(monkeypatch, finetune.Tuning, 3)
    with pytest.raises(KeyboardInterrupt):
        finetune.main(command)
    finetune.main([*command, "--patience", "700"])
    assert "resumed" in capsys.readouterr().out
    assert [row["step"] for row in log(run)] == [2, 4]

    remedy = f"choose another --run, or delete {run}"
    for option, before, after in (("encoder", "lora", "full"), ("steps", "4", "8"), ("lr", "0.0002", "0.0003")):
        with pytest.raises(Problem, match=f"was begun with --{option} {before}, not {after}: {remedy}"):
            finetune.main([*command, f"--{option}", after])
    with pytest.raises(Problem, match=f"--checkpoint has changed since {run} was begun: {remedy}"):
        finetune.main([*command, "--checkpoint", str(untrained(tmp_path, "sam_tiny", seed=1))])
    untrained(tmp_path, "sam_tiny")
    elsewhere = data.rename(tmp_path / "elsewhere")
    finetune.main([*command, "--data", str(elsewhere)])
    for ending in (".png", "_labels.png"):
        shutil.copy(elsewhere / f"0{ending}", elsewhere / f"3{ending}")
    with pytest.raises(Problem, match=f"--data has changed since {run} was begun: {remedy}"):
        finetune.main([*command, "--data", str(elsewhere)])


def test_all_that_learns_is_resumed(tmp_path: Path, batch: Batch) -> None:
    """It uses a full encoder, so that every part differs from the checkpoint."""
    torch.manual_seed(0)
    tuning = finetune.Tuning.begin(build_sam_tiny(), "full", 1e-3)
    tuning.take_step(batch, 1e-3)
    tuning.take_step(batch, 5e-4)
    tuning.history.append(finetune.Validation(2, 1.0, 2.0, 0.5))
    tuning.save(tmp_path)
    resumed = finetune.Tuning.begin(build_sam_tiny(), "full", 1e-3)
    resumed.resume(tmp_path)
    assert (resumed.step, resumed.history) == (tuning.step, tuning.history)
    equal = partial(torch.testing.assert_close, rtol=0, atol=0)
    equal(resumed.sam.state_dict(), tuning.sam.state_dict())
    equal(resumed.average, tuning.average)
    equal(resumed.optimizer.state_dict(), tuning.optimizer.state_dict())
    assert resumed.optimizer.state_dict()["state"], "nothing was compared"


def test_nothing_is_claimed_by_a_command_that_is_wrong(tmp_path: Path) -> None:
    run, begun = tmp_path / "run", untrained(tmp_path, "sam_tiny")
    text = tmp_path / "text.pth"
    text.write_text("no tensors")
    command = ["--data", str(rock(tmp_path / "rock")), "--run", str(run), "--device", "cpu", "--checkpoint"]
    for arguments, fault in (
        ([f"{begun}x"], "there is no such file"),
        ([str(text)], "is not a checkpoint of tensors"),
        ([str(begun), "--model", "sam_nano"], "is a checkpoint of sam_tiny, but the model is sam_nano"),
        ([str(begun), "--data", str(tmp_path / "rok")], "there is no folder"),
    ):
        with pytest.raises(Problem, match=fault) as raised:
            finetune.main([*command, *arguments])
        assert "\n" not in str(raised.value)
    assert not run.exists()


@pytest.mark.parametrize("encoder", finetune.ENCODERS)
def test_validation_keeps_no_gradients(encoder: str, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    usual = forward.embed

    def embed(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        embedding, maps = usual(*arguments)
        assert maps is not None
        seen.append((embedding.requires_grad, maps.requires_grad))
        return embedding, maps

    monkeypatch.setattr(finetune, "embed", embed)
    tuning = finetune.Tuning.begin(build_sam_tiny(), encoder, 1e-3)
    tuning.validate([batch], 1.0)
    tuning.loss(batch, 16)
    assert seen == [(False, False), (encoder != "frozen", True)]


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


def test_a_frozen_encoder_stays_as_it_was_but_for_its_seed_head(tmp_path: Path) -> None:
    begun = untrained(tmp_path, "sam_tiny")
    command = f"--data {rock(tmp_path / 'rock')} --run {tmp_path / 'run'} --checkpoint {begun} --steps 2 --every 2"
    finetune.main([*command.split(), "--workers", "0", "--device", "cpu"])
    before = models.load("sam_tiny", weights.fetch(str(begun), Path()), torch.device("cpu"))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["sam"]
    for name, value in before.image_encoder.state_dict().items():
        learns = name.startswith("seed_head.")
        assert torch.equal(state[f"image_encoder.{name}"], value) != learns, name
    written = torch.load(tmp_path / "run" / "sam_tiny.pth", weights_only=True)
    assert written.keys() == before.state_dict().keys(), "the seed head is in the checkpoint"


@pytest.mark.parametrize("encoder", finetune.ENCODERS)
def test_seeds_are_learnt_with_the_masks(encoder: str, batch: Batch) -> None:
    """A trainable encoder learns centroids as well; a frozen one keeps them, since the embedding depends on them."""
    torch.manual_seed(0)
    tuning = finetune.Tuning.begin(build_sam_tiny(), encoder, 1e-3)
    truth = dense_targets(batch.labels)

    def errors() -> list[float]:
        with torch.no_grad():
            maps = forward.embed(tuning.sam, batch)[1]
        assert maps is not None
        inside = truth.inside
        centroids = (maps[:, :2] - truth.offsets).abs().sum(1)[inside].mean()
        sizes = (maps[:, 3] - truth.sizes).abs()[inside].mean()
        return [float(centroids), float(sizes)]

    before = errors()
    for _ in range(12):
        tuning.take_step(batch, 3e-3)
    centroids, sizes = (now < 0.95 * then for now, then in zip(errors(), before, strict=True))
    assert sizes
    assert centroids == (encoder != "frozen") or encoder == "lora"


@pytest.mark.parametrize("encoder", finetune.ENCODERS)
def test_what_nobody_looked_at_is_not_learnt(encoder: str, batch: Batch) -> None:
    """Without labels there is no gradient of seeds, masks or predicted IoU."""
    unknown = replace(
        batch, labels=torch.full_like(batch.labels, UNKNOWN), targets=torch.full_like(batch.targets, UNKNOWN)
    )
    tuning = finetune.Tuning.begin(build_sam_tiny(), encoder, 1e-3)
    for side in (None, 8):
        loss, _ = tuning.loss(unknown, side)
        assert float(loss.detach()) == 0


def test_a_model_without_seeds_sees_whole_crops(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []

    def decode(sam: Sam, embedding: torch.Tensor, shown: Batch, side: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(side)
        return forward.decode(sam, embedding, shown, side)

    monkeypatch.setattr(finetune, "decode", decode)
    monkeypatch.setattr(finetune, "window", lambda _: 8)
    old = build_sam_tiny()
    old.image_encoder.seed_head = None
    for sam in (build_sam_tiny(), old):
        tuning = finetune.Tuning.begin(sam, "frozen", 1e-3)
        tuning.take_step(batch, 1e-3)
        tuning.validate([batch], 1.0)
    assert seen == [8, finetune.SIDE, None, None]


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


def test_a_seed_head_behind_a_frozen_encoder_learns_without_ending_the_process() -> None:
    """Runs in a separate process: torch's fault, which `_with_gradient` avoids, is a segmentation fault.

    The committed weights show it; they lie in channels-last order.
    """
    script = """
import sys
from pathlib import Path
import torch
from training.checkpoints import fetch, load
from training.crops import CropStream
from training.finetune import Tuning
tuning = Tuning.begin(load("sam_tiny", fetch(sys.argv[1]), torch.device("cpu")), "frozen", 1e-4)
batches = iter(CropStream(3, crops=8, prompts=4, sides=(256,)))
for _ in range(3):
    tuning.take_step(next(batches), 1e-4)
"""
    command = [sys.executable, "-c", script, str(ROOT / "weights" / "sam_tiny.pth")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=240)
