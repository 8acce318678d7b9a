"""Distillation as a user runs it, and its loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.sam.models import REGISTRY
from tests.unit.training.scripts import interrupt, log, rock, served, small_vit, untrained
from tools.problem import Problem
from training import distill
from training.crops import UNKNOWN, Batch, CropStream
from training.distill import Distillation, Mixture, inherit
from training.forward import embed
from training.losses import said, seed_loss
from training.synthetic import synthesize


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "MIX", (256,))
    monkeypatch.setattr(distill, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(distill, "CROPS", 2)


def test_the_losses_fall_and_the_checkpoint_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlabelled images are enough, and an interrupted run continues where it stopped."""
    images = rock(tmp_path / "rock")
    for labels in images.glob("*_labels.png"):
        labels.unlink()
    command = ["--teacher-checkpoint", str(untrained(tmp_path, "sam_tiny", seed=5)), "--images", str(images)]
    command += ["--run", str(tmp_path / "run"), "--embedding-steps", "8", "--mask-steps", "4", "--every", "4"]
    command += ["--synthetic", "0", "--workers", "0", "--device", "cpu"]
    interrupt(monkeypatch, Distillation, 9)
    with pytest.raises(KeyboardInterrupt):
        distill.main(command)
    assert distill.main(command) == 0

    rows = log(tmp_path / "run")
    assert [(row["step"], row["masks"]) for row in rows] == [(4, False), (8, False), (12, True)]
    assert rows[1]["loss"] < 0.9 * rows[0]["loss"]
    assert served(tmp_path / "run" / "sam_nano.pth", "sam_nano")["metadata"]["model"] == "sam_nano"
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000
    assert "sam_nano, distilled from sam_tiny" in (tmp_path / "run" / "card.md").read_text()

    remedy = f"choose another --run, or delete {tmp_path / 'run'}"
    settings = {"embedding-steps": "9", "mask-steps": "5", "temperature": "3.0", "hard": "0.1", "lr": "0.01"}
    for option, other in settings.items():
        with pytest.raises(Problem, match=f"was begun with --{option} .*, not {other}: {remedy}"):
            distill.main([*command, f"--{option}", other])
    other = str(untrained(tmp_path, "sam_nano"))
    with pytest.raises(Problem, match=f"--student-checkpoint has changed since .*: {remedy}"):
        distill.main([*command, "--student-checkpoint", other])
    untrained(tmp_path, "sam_tiny", seed=6)
    with pytest.raises(Problem, match=f"--teacher-checkpoint has changed since .*: {remedy}"):
        distill.main(command)
    untrained(tmp_path, "sam_tiny", seed=5)
    (images / "0.png").unlink()
    with pytest.raises(Problem, match=f"--images has changed since .*: {remedy}"):
        distill.main(command)


def test_nothing_is_claimed_by_a_command_that_is_wrong(tmp_path: Path) -> None:
    run, teacher = tmp_path / "run", untrained(tmp_path, "sam_tiny")
    command = ["--run", str(run), "--device", "cpu", "--teacher-checkpoint"]
    for arguments, fault in (
        ([f"{teacher}x"], "there is no such file"),
        ([str(teacher), "--student-checkpoint", str(teacher)], "a checkpoint of sam_tiny, but the model is sam_nano"),
        ([str(teacher), "--embedding-steps", "0", "--mask-steps", "0"], "nothing is learnt in 0 steps"),
        ([str(teacher), "--images", str(tmp_path / "rok")], "there is no folder"),
    ):
        with pytest.raises(Problem, match=fault):
            distill.main([*command, *arguments])
    assert not run.exists()


def test_a_vision_transformer_of_another_width_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "sam_vit_b", small_vit)
    teacher = f"--teacher sam_vit_b --teacher-checkpoint {untrained(tmp_path, 'sam_vit_b')} --student sam_tiny"
    settings = f"--run {tmp_path / 'run'} --workers 0 --device cpu --embedding-steps 1 --mask-steps 1 --every 1"
    assert distill.main([*teacher.split(), *settings.split(), "--images", str(rock(tmp_path / "rock"))]) == 0
    assert [row["masks"] for row in log(tmp_path / "run")] == [False, True]
    assert served(tmp_path / "run" / "sam_tiny.pth", "sam_tiny")["metadata"]["precision"] == "fp32"


def test_masks_are_learnt() -> None:
    torch.manual_seed(0)
    teacher, student, average = (REGISTRY[name]() for name in ("sam_tiny", "sam_nano", "sam_nano"))
    distillation = Distillation.begin(teacher, student, average, rate=1e-3)
    batch = next(iter(CropStream(3, crops=1, prompts=4, sides=(256,))))
    losses = [distillation.take_step(batch, Mixture(), 1e-3) for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]


def small_batch() -> Batch:
    """Makes a batch of one image, where a stream draws twelve."""
    made = synthesize(np.random.default_rng(3), "loose", 256, 256)
    return next(iter(CropStream(3, crops=1, prompts=1, source=lambda _: (made.image, made.labels), sides=(256,))))


def seeds_of(sam: Sam, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        maps = embed(sam, batch)[1]
    assert maps is not None
    return maps


def test_a_student_learns_the_teachers_seeds() -> None:
    """This includes images with unknown grains."""
    torch.manual_seed(0)
    teacher, student, average = (REGISTRY[name]() for name in ("sam_tiny", "sam_nano", "sam_nano"))
    assert teacher.image_encoder.seed_head is not None
    teacher.image_encoder.seed_head[-1].bias.data = torch.tensor([3.0, 1.5])  # grains of 90 px everywhere
    distillation = Distillation.begin(teacher, student, average, rate=1e-3)
    batch = small_batch()
    unlabelled = replace(batch, labels=torch.full_like(batch.labels, UNKNOWN))
    before = (seeds_of(student, batch) - seeds_of(teacher, batch)).abs().mean((0, 2, 3))
    for _ in range(12):
        distillation.take_step(unlabelled, None, 3e-3)
    after = (seeds_of(student, batch) - seeds_of(teacher, batch)).abs().mean((0, 2, 3))
    assert (after[2:] < 0.8 * before[2:]).all()


def test_where_the_teacher_predicts_none_synthetic_images_teach_seeds() -> None:
    torch.manual_seed(0)
    teacher, student, average = (REGISTRY[name]() for name in ("sam_tiny", "sam_nano", "sam_nano"))
    teacher.image_encoder.seed_head = None
    distillation = Distillation.begin(teacher, student, average, rate=1e-3)
    batch = small_batch()
    unlabelled = replace(batch, labels=torch.full_like(batch.labels, UNKNOWN))
    assert student.image_encoder.seed_head is not None
    learns = []
    for shown in (unlabelled, batch):
        student.zero_grad(set_to_none=True)
        distillation.loss(shown, None).backward()
        grad = student.image_encoder.seed_head[-1].bias.grad
        learns.append(grad is not None and bool(grad.abs().sum() > 0))
    assert learns == [False, True]


def test_a_teachers_map_is_its_own_best_copy() -> None:
    torch.manual_seed(2)
    maps = torch.randn(1, 4, 8, 8)
    off = [
        seed_loss(maps + shift * torch.eye(4)[channel].view(1, 4, 1, 1), said(maps))
        for channel in range(4)
        for shift in (-0.5, 0.5)
    ]
    assert all(seed_loss(maps, said(maps)) < each for each in off)


def test_nano_is_half_of_tiny() -> None:
    tiny, nano = (sum(p.numel() for p in REGISTRY[name]().parameters()) for name in ("sam_tiny", "sam_nano"))
    assert 0.4 < nano / tiny <= 0.5


def test_a_student_of_the_same_build_begins_with_the_teachers_decoder() -> None:
    torch.manual_seed(0)
    teacher, student = REGISTRY["sam_tiny"](), REGISTRY["sam_nano"]()
    inherit(student, teacher)
    for mine, its in zip(student.mask_decoder.parameters(), teacher.mask_decoder.parameters(), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("hard", [0.0, 0.5, 1.0])
def test_the_teachers_own_answers_are_the_best(hard: float) -> None:
    torch.manual_seed(1)
    theirs = torch.randn(6, 4, 16, 16) * 6
    scores = torch.rand(6, 4)
    mixture = Mixture(temperature=2.0, hard=hard)
    same = mixture.loss(theirs, scores, theirs, scores)
    assert same < mixture.loss(theirs.roll(3, -1), scores, theirs, scores)
    assert same < mixture.loss(theirs, 1 - scores, theirs, scores)


def test_masks_that_the_teacher_does_not_believe_in_do_not_count() -> None:
    torch.manual_seed(1)
    theirs, mine = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    scores = torch.ones(2, 4)
    scores[:, 2] = 0
    other = mine.clone()
    other[:, 2] *= -1
    mixture = Mixture()
    torch.testing.assert_close(mixture.loss(mine, scores, theirs, scores), mixture.loss(other, scores, theirs, scores))


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="has no image"):
        distill.photographs(tmp_path)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        distill.main(["--help"])
    text = capsys.readouterr().out
    assert "--teacher sam_vit_h --teacher-checkpoint vit_h.pth" in text
    assert "temperature" in text


def test_a_teacher_that_sees_nothing_is_no_number() -> None:
    """This happens with an untrained ViT-H, for example; JSON has no NaN."""
    torch.manual_seed(0)
    teacher, student, average = (REGISTRY[name]() for name in ("sam_tiny", "sam_nano", "sam_nano"))
    for layer in teacher.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(layer.layers[-1].weight)
        torch.nn.init.zeros_(layer.layers[-1].bias)
    distillation = Distillation.begin(teacher, student, average, rate=1e-3)
    assert distillation.agreement([next(iter(CropStream(3, crops=1, prompts=2, sides=(256,))))]) is None
