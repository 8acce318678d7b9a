"""Other settings of seeds: each changes one thing while it is tried."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import seed_choices
from benchmarks.scored.images import Known
from grain_handler.sam import seed_prompter, seeds
from training.synthetic import synthesize


def small() -> list[Known]:
    """Grains that are better seen enlarged, which are many; and a few that are not."""
    images = []
    for group, grain_px in (("real", 9), ("synthetic", 40)):
        made = synthesize(np.random.default_rng(5), "loose", 200, 200, grain_px=grain_px)
        images.append(Known("loose 0", group, "loose", made.image, made.labels))
    return images


def test_each_choice_changes_one_thing_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_choices, "images", small)
    monkeypatch.setattr(seed_choices, "RUNS", 1)
    monkeypatch.setattr(seed_choices, "PROMPTS", 8)
    out = tmp_path / "choices.json"
    wanted = ["as served", "no enlarged crops", "confidence 0.3"]
    monkeypatch.setattr("sys.argv", ["seed_choices.py", "--out", str(out), "--only", *wanted])
    before = seed_prompter.ENLARGED, seed_prompter.WINDOWS, seeds.find.__defaults__
    assert seed_choices.main() == 0
    assert (seed_prompter.ENLARGED, seed_prompter.WINDOWS, seeds.find.__defaults__) == before
    results = json.loads(out.read_text())
    prompts = {name: rows[0]["prompts"] for name, rows in results["choices"].items()}
    assert list(prompts) == wanted
    assert prompts["no enlarged crops"] < prompts["as served"]
    assert prompts["confidence 0.3"] < prompts["as served"]
    assert all(row["f1"] > 0.5 for row in results["choices"]["as served"])
    costs = results["costs"]["fp32"]
    assert costs["prompt_ms_16"] < costs["prompt_ms_64"], "a window is less work"


def test_the_table_counts_sets_alike() -> None:
    rows = [
        {"group": "real", "kind": kind, "prompts": 1, "processor_seconds": 1.0, "f1": f1, "d50_error": off}
        for kind, f1, off in (("a", 1.0, 0.1), ("a", 1.0, -0.1), ("b", 0.0, None))
    ]
    assert seed_choices.choices_table({"x": rows}).splitlines()[-1] == "| x | 1 | 1.0 | 0.500 | 10 % | – | – |"
