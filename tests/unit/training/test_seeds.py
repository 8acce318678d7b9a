"""A seed head as a user makes one: from a large SAM and label maps to a file that serves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from grain_handler import service
from grain_handler.sam import models
from grain_handler.sam.tiny_encoder import OFFSET_UNIT
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded, gradient
from tests.unit.training.scripts import interrupt, log, rock, small_vit, untrained
from tools.problem import Problem
from training import checkpoints, seeds
from training.crops import UNKNOWN
from training.losses import dense_targets


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.REGISTRY, "sam_vit_b", small_vit)


def command(folder: Path, *more: str) -> Sequence[str]:
    data = folder / "rock"
    if not data.exists():
        rock(data)
        untrained(folder, "sam_vit_b")
    files = ["--checkpoint", str(folder / "sam_vit_b_untrained.pth"), "--run", str(folder / "run"), "--data", str(data)]
    settings = "--model sam_vit_b --synthetic 0 --images 4 --steps 12 --every 6 --batch 1 --lr 3e-3 --device cpu"
    return [*files, *settings.split(), *more]


def test_the_loss_falls_and_the_head_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert seeds.main(command(tmp_path)) == 0
    run = tmp_path / "run"
    rows = log(run)
    assert [row["step"] for row in rows] == [6, 12]
    assert rows[1]["loss"] < 0.9 * rows[0]["loss"]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("found", "wasted"))
    assert (run / "curves.png").stat().st_size > 5000
    card = (run / "card.md").read_text()
    assert "sam_vit_b_untrained.pth" in card
    assert "4 crops of rock, a fifth" in card
    assert f"{100 * rows[-1]['found']:.0f} % of the grains" in capsys.readouterr().out

    context = Context(tmp_path / "sam_vit_b_untrained.pth", model="sam_vit_b", seeds=str(run / "seeds.pth"))
    handler = service.GrainHandler()
    handler.initialize(context)
    (body,) = handler.handle([{"image": encoded(gradient(), "PNG"), "points": b"seeds"}], context)
    assert context.statuses == {0: 200}, body
    assert json.loads(body)["metadata"]["seedHead"]["uri"] == str(run / "seeds.pth")


def test_crops_are_embedded_once_and_a_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, seeds.Learning, 8)
    with pytest.raises(KeyboardInterrupt):
        seeds.main(command(tmp_path))
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "embeddings").rglob("*.pt")}
    assert len(cached) == 4
    seeds.main(command(tmp_path))
    assert "at step 6" in capsys.readouterr().out
    assert [row["step"] for row in log(tmp_path / "run")] == [6, 12]
    assert {path: path.stat().st_mtime_ns for path in cached} == cached


def test_other_crops_are_not_mixed_with_those_of_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops before its first step, with one crop embedded."""

    def save(path: Path, value: object) -> None:
        checkpoints.save(path, value)
        if path.parent.name == "learnt":
            raise KeyboardInterrupt

    monkeypatch.setattr(seeds, "save", save)
    with pytest.raises(KeyboardInterrupt):
        seeds.main(command(tmp_path))
    monkeypatch.setattr(seeds, "save", checkpoints.save)
    remedy = f"choose another --run, or delete {tmp_path / 'run'}"
    with pytest.raises(Problem, match=f"was begun with --images 4, not 5: {remedy}"):
        seeds.main(command(tmp_path, "--images", "5"))
    shutil.copy(tmp_path / "rock" / "0.png", tmp_path / "rock" / "9.png")
    shutil.copy(tmp_path / "rock" / "0_labels.png", tmp_path / "rock" / "9_labels.png")
    with pytest.raises(Problem, match=f"--data has changed since .*: {remedy}"):
        seeds.main(command(tmp_path))
    untrained(tmp_path, "sam_vit_b", seed=1)
    with pytest.raises(Problem, match=f"--checkpoint has changed since .*: {remedy}"):
        seeds.main(command(tmp_path))


def test_nothing_is_claimed_by_a_command_that_is_wrong(tmp_path: Path) -> None:
    tiny = ["--model", "sam_tiny", "--checkpoint", str(untrained(tmp_path, "sam_tiny"))]
    with pytest.raises(Problem, match="sam_tiny takes its seeds from its own checkpoint"):
        seeds.main(command(tmp_path, *tiny))
    with pytest.raises(Problem, match="--images must be 2 at least"):
        seeds.main(command(tmp_path, "--images", "1"))
    assert not (tmp_path / "run").exists()


def test_true_maps_hit_every_grain_and_waste_no_seed() -> None:
    labels = torch.zeros(1, 1024, 1024, dtype=torch.int32)
    for number in range(16):
        y, x = divmod(number, 4)
        labels[0, 256 * y + 40 : 256 * y + 180, 256 * x + 60 : 256 * x + 200] = number + 1
    labels[0, :, :20] = UNKNOWN
    truth = dense_targets(labels)
    logit = torch.where(truth.inside, 6.0, -6.0)
    maps = torch.cat([truth.offsets, logit[:, None], truth.sizes[:, None]], 1)[0]
    assert seeds.hits(maps, labels[0].numpy()) == (16, 16, 16)
    maps[0] += 1024 / OFFSET_UNIT
    assert seeds.hits(maps, labels[0].numpy())[0] < 16


def test_a_map_of_nothing_hits_nothing() -> None:
    maps = torch.full((4, 128, 128), -9.0)
    assert seeds.hits(maps, np.ones((1024, 1024), np.int32)) == (0, 1, 0)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        seeds.main(["--help"])
    text = capsys.readouterr().out
    assert "python -m training.seeds --model sam_vit_b --checkpoint vit_b.pth" in text
    assert "grainserve weights push" in text
