"""The accuracy benchmark's command line; test_scored tests its figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

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


def found_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path, out: Path, *more: str) -> int:
    """Runs the benchmark on made images, with a model and a watershed that take no time."""
    monkeypatch.setattr(Served, "finder", lambda _: lambda image: np.zeros(image.shape[:2], np.int32))
    monkeypatch.setattr(accuracy, "tuned_watershed", lambda _: (Recipe("distance", 1.0, 0.15, 9, True), 0.5))
    images = folder / "rock"
    where = ("--folder", str(images if images.exists() else rock(images)), "--report", str(folder / "report"))
    return run(monkeypatch, *where, "--out", str(out), *more)


def test_an_earlier_model_is_shown_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "before.json"
    monkeypatch.setattr(accuracy, "console", Console(width=200))
    assert found_nothing(monkeypatch, tmp_path, before) == 0
    results = json.loads(before.read_text())
    results["date"] = "2001-02-03"
    results["summary"]["folder"]["sam"] |= {"f1": 0.77, "seconds": 1234.5, "d50_within_10_percent": 3}
    before.write_text(json.dumps(results))
    capsys.readouterr()
    assert found_nothing(monkeypatch, tmp_path, tmp_path / "after.json", "--baseline", str(before)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "sam_tiny of 2001-02-03" in line]
    assert len(lines) == 3, "in each table"
    assert all(part in lines[-1] for part in ("folder (3)", "0.77", "3", "1234.5"))


def test_results_of_before_recall_by_size_are_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"summary": {"coins": {"images": 1, "sam": {"f1": 1.0}}}}))
    with pytest.raises(Problem, match="tells no recall by size: measure that model again"):
        found_nothing(monkeypatch, tmp_path, tmp_path / "out.json", "--baseline", str(old))
    with pytest.raises(Problem, match="cannot be read"):
        found_nothing(monkeypatch, tmp_path, tmp_path / "out.json", "--baseline", str(tmp_path / "none.json"))


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


def test_progress_is_told_from_the_start_also_where_it_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def find(image: NDArray[np.uint8]) -> NDArray[np.int32]:
        told.append(capsys.readouterr().out)
        return np.zeros(image.shape[:2], np.int32)

    def tuned(_: object) -> tuple[Recipe, float]:
        told.append(capsys.readouterr().out)
        return Recipe("distance", 1.0, 0.15, 9, True), 0.5

    monkeypatch.setattr(accuracy, "console", Console(width=200))
    monkeypatch.setattr(accuracy, "tuned_watershed", tuned)
    monkeypatch.setattr(Served, "finder", lambda _: find)
    images = rock(tmp_path / "rock")
    out = ("--out", str(tmp_path / "out.json"), "--report", str(tmp_path / "report"))
    assert run(monkeypatch, "--folder", str(images), *out) == 0
    assert "3 images to measure. Before them a watershed" in told[0]
    assert all(": F1 sam 0.00, watershed " in each for each in told[2:]), "each image by itself, as it is done"
    assert len(told) == 4
