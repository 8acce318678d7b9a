"""The cross-validation of fine-tuning: the photographs of each fold, and the figures that are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import finetuning
from benchmarks.finetuning import FOLDS, SHOWN, fold_of, mean_f1, scores_before
from benchmarks.scored.images import Known
from tests.unit.training.scripts import untrained
from tools.problem import Problem
from training import finetune


def known(name: str) -> Known:
    labels = np.zeros((96, 96), np.int32)
    labels[20:50, 20:60] = 1
    return Known(name, "photographs", "sand", np.full((96, 96, 3), 90, np.uint8), labels)


TWELVE = [known(f"photograph {i}") for i in range(12)]


def names(images: list[Known]) -> list[str]:
    return [each.name for each in images]


def test_every_photograph_is_scored_once_by_a_fold_that_did_not_learn_from_it() -> None:
    folds = [fold_of(TWELVE, fold) for fold in range(FOLDS)]
    assert sorted(name for _, scored in folds for name in names(scored)) == sorted(names(TWELVE))
    for given, scored in folds:
        assert (len(given), len(scored)) == (9, 3)
        assert not set(names(given)) & set(names(scored))


def test_the_figures_before_are_those_of_what_is_served_now(tmp_path: Path) -> None:
    accuracy, about = tmp_path / "accuracy.json", {"checkpoint_crc32c": "g0rt7Q=="}
    with pytest.raises(Problem, match="is absent: run `make accuracy`"):
        scores_before(accuracy, about, TWELVE[:1])
    figures = dict.fromkeys(SHOWN, 0.5)
    measured = {"sam": about, "images": [{"name": TWELVE[0].name, "sam": figures | {"seconds": 3}}]}
    accuracy.write_text(json.dumps(measured))
    assert scores_before(accuracy, about, TWELVE[:1]) == {TWELVE[0].name: figures}
    with pytest.raises(Problem, match="another checkpoint or other options: run `make accuracy`"):
        scores_before(accuracy, {"checkpoint_crc32c": "AAAAAA=="}, TWELVE[:1])
    with pytest.raises(Problem, match="is without photograph 1, photograph 2: run `make accuracy`"):
        scores_before(accuracy, about, TWELVE[:3])


def test_the_mean_is_over_images_not_folds() -> None:
    folds = [{"after": {"a": {"f1": 1.0}, "b": {"f1": 0.5}}}, {"after": {"c": {"f1": 0.0}}}]
    assert mean_f1(folds, "after") == pytest.approx(0.5)


def test_seven_are_learnt_from_and_two_tell_when_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold with other settings is not reported."""
    for name, value in {"SIDES": (256,), "VALIDATION_BATCHES": 1, "CROPS": 1}.items():
        monkeypatch.setattr(finetune, name, value)
    given, _ = fold_of(TWELVE, 0)
    run = tmp_path / "full_0"
    settings = ["--checkpoint", str(untrained(tmp_path, "sam_tiny")), "--encoder", "full", "--workers", "0"]
    settings += ["--device", "cpu", "--steps", "1", "--synthetic", "0"]
    fold = finetuning.tune(given, run, settings)
    assert (len(fold["learnt"]), len(fold["told_when_to_stop"])) == (7, 2)
    assert {*fold["learnt"], *fold["told_when_to_stop"]} == set(names(given))
    assert fold["steps"] == 1
    assert finetuning.tune(given, run, settings) == fold
    for others, changes in ((given, ["--lr", "1e-3"]), (given, ["--steps", "2"]), (fold_of(TWELVE, 1)[0], [])):
        with pytest.raises(Problem, match=f"was begun.* delete {run}"):
            finetuning.tune(others, run, [*settings, *changes])
