"""`grainserve classifier` as it is typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from grainserve.classifier.model import load
from grainserve.cli import app
from tests.unit.labelled import make_table


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for seed, path in enumerate(paths):
        make_table(np.random.default_rng(seed), {"quartz": 30, "biotite": 20, "opaque": 15}).to_csv(path, index=False)
    return paths


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["classifier", *map(str, arguments)])


def words(text: str) -> str:
    return " ".join(text.split())


def test_train_reports_and_writes_and_show_reports_again(tables: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "minerals.skops"
    trained = run("train", *tables, "--out", out)
    assert trained.exit_code == 0, trained.output
    for part in (
        "130 grains of 3 classes in 2 tables, 0 rows without a class left out",
        "whole tables held out",
        "quartz 60 100.0 %",
        "threshold 0.5:",
    ):
        assert part in words(trained.output)
    shown = run("show", out)
    assert shown.exit_code == 0
    first, *card = shown.output.splitlines()
    assert "trained with scikit-learn" in first
    assert card == trained.output.splitlines()[:-1]


@pytest.mark.parametrize("threshold", ["0.8", "auto"])
def test_the_threshold_is_said_or_found(tables: list[Path], tmp_path: Path, threshold: str) -> None:
    assert run("train", *tables, "--out", tmp_path / "a.skops", "--threshold", threshold).exit_code == 0
    assert load(tmp_path / "a.skops").threshold == (0.5 if threshold == "auto" else 0.8)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "{0}", "--threshold", "high"), 2, "--threshold is auto or a number from 0 to 1, not 'high'"),
        (("train", "{0}", "--threshold", "1.5"), 2, "not '1.5'"),
        (("train", "{0}", "--column", "mineral"), 1, "has no column mineral"),
        (("train", "{0}", "--with-size"), 1, "has no sizes in µm"),
        (("train", "nowhere.csv"), 1, "No such file"),
        (("show", "{0}"), 1, "damaged or no classifier"),
        (("show", "nowhere.skops"), 1, "No such file"),
    ],
)
def test_errors_are_one_line(tables: list[Path], arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(*(each.format(*tables) for each in arguments))
    assert done.exit_code == code
    assert said in words(done.output)
    assert done.output.startswith("error:")
