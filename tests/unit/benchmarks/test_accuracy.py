"""The accuracy benchmark as it is typed; what it measures is in test_scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.scored.watershed import Recipe
from tests.unit.training.scripts import rock
from tools.problem import Problem
from training.serving import Served


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["accuracy.py", *arguments])
    return accuracy.main()


def test_results_say_how_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "finder", lambda _: lambda image: np.zeros(image.shape[:2], np.int32))
    monkeypatch.setattr(accuracy, "tuned_watershed", lambda _: (Recipe("distance", 1.0, 0.15, 9, True), 0.5))
    out = tmp_path / "out.json"
    options = ("--option", "points=grid", "--option", "min_area=30", "label=a pebble")
    where = ("--folder", str(rock(tmp_path / "rock")), "--out", str(out), "--report", str(tmp_path / "report"))
    assert run(monkeypatch, *options, *where) == 0
    results = json.loads(out.read_text())
    assert results["command"].startswith(
        "python -m benchmarks.accuracy --option points=grid --option min_area=30 'label=a pebble' --folder "
    )
    said = results["sam"]["options"]
    assert (said["points"], said["min_area"], said["label"]) == ("grid", 30, "a pebble")
    assert len(results["images"]) == 3


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--folder", "no/such/folder"), "there is no folder no/such/folder"),
        (("--images", "coins", "--checkpoint", "no/such.pth"), "there is no such file"),
        (("--images", "coins", "--option", "colour=red"), "unknown option 'colour'"),
        (("--images", "synthetic", "--synthetic", "0"), "no image"),
    ],
)
def test_what_is_wrong_is_said_before_anything_takes_long(
    arguments: tuple[str, ...], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "tuned_watershed", lambda _: pytest.fail("the watershed was tuned first"))
    with pytest.raises(Problem, match=fault):
        run(monkeypatch, *arguments)
