"""`grainserve classifier` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from grainserve.classifier.model import load
from grainserve.cli.application import app
from grainserve.contract import validate_result
from tests.unit.client.made import make_result
from tests.unit.labelled import as_properties, draw, make_classifier, make_table


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
    card, _, _ = words(trained.output).partition(" written to ")
    assert "trained with scikit-learn" in words(shown.output)
    assert words(shown.output).endswith(card)


@pytest.mark.parametrize("threshold", ["0.8", "auto"])
def test_the_threshold_is_said_or_found(tables: list[Path], tmp_path: Path, threshold: str) -> None:
    assert run("train", *tables, "--out", tmp_path / "a.skops", "--threshold", threshold).exit_code == 0
    assert load(tmp_path / "a.skops").threshold == (0.5 if threshold == "auto" else 0.8)


def test_apply_names_the_grains_of_a_result(tmp_path: Path) -> None:
    make_classifier(tmp_path).save(tmp_path / "minerals.skops")
    data = make_result(masks=[np.pad(np.ones((4, 4), bool), 2)] * 3)
    quartz = draw(np.random.default_rng(1), 0.0, 1)[0]
    for grain, row in zip(data["segmentedObjects"], (quartz, quartz + 0.2, quartz * np.nan), strict=True):
        grain["properties"] |= as_properties(row)
    (tmp_path / "sand.json").write_text(json.dumps(data))
    applied = run("apply", tmp_path / "minerals.skops", tmp_path / "sand.json", "--out", tmp_path / "named")
    assert applied.exit_code == 0, applied.output
    assert "sand.json: unknown 2, quartz 1" in words(applied.output)
    named = json.loads((tmp_path / "named" / "sand.json").read_text())
    validate_result(named)
    assert [grain["class"] for grain in named["segmentedObjects"]] == ["quartz", "unknown", "unknown"]
    assert named["metadata"]["classifier"]["uri"].endswith("minerals.skops")
    assert pd.read_csv(tmp_path / "named" / "sand.csv")["classSource"].tolist() == ["classifier"] * 3


@pytest.mark.parametrize("grains", [0, 1])
def test_apply_takes_a_result_in_which_no_grain_has_a_measurement(tmp_path: Path, grains: int) -> None:
    """A grain one pixel wide has no gradient, and is unknown; where it is the only one, too."""
    make_classifier(tmp_path).save(tmp_path / "minerals.skops")
    data = make_result(masks=[np.ones((1, 8), bool)] * grains)
    for grain in data["segmentedObjects"]:
        grain["properties"]["texture"] |= {"gradientMean": None, "gradientStd": None, "coherence": None}
    (tmp_path / "sand.json").write_text(json.dumps(data))
    applied = run("apply", tmp_path / "minerals.skops", tmp_path / "sand.json", "--out", tmp_path / "named")
    assert applied.exit_code == 0, applied.output
    named = json.loads((tmp_path / "named" / "sand.json").read_text())
    assert [(each["class"], each["classConfidence"]) for each in named["segmentedObjects"]] == [
        ("unknown", 0.0)
    ] * grains


def test_apply_refuses_a_result_without_the_measurements(tmp_path: Path) -> None:
    make_classifier(tmp_path).save(tmp_path / "minerals.skops")
    data = make_result()
    for grain in data["segmentedObjects"]:
        del grain["properties"]["texture"]
    (tmp_path / "sand.json").write_text(json.dumps(data))
    applied = run("apply", tmp_path / "minerals.skops", tmp_path / "sand.json", "--out", tmp_path / "named")
    assert applied.exit_code == 1
    assert "has no texture_entropy, texture_gradientMean" in words(applied.output)


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
