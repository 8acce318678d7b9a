"""Other rules of the label map: each changes one number while it is tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import label_rules, seed_choices
from grain_handler.grains import label_map
from tests.unit.benchmarks.test_seed_choices import small


def test_each_rule_changes_one_number_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_choices, "images", small)
    monkeypatch.setattr(label_rules, "TRIED", {"CLUSTER_COVER": (0.6,), "KEPT_SHARE": (1.1,)})
    out = tmp_path / "rules.json"
    monkeypatch.setattr("sys.argv", ["label_rules.py", "--out", str(out)])
    before = label_map.CLUSTER_COVER, label_map.KEPT_SHARE
    assert label_rules.main() == 0
    assert before == (label_map.CLUSTER_COVER, label_map.KEPT_SHARE)
    rules = json.loads(out.read_text())["rules"]
    assert list(rules) == ["as served", "CLUSTER_COVER 0.6", "KEPT_SHARE 1.1"]
    assert all(row["f1"] > 0.5 for row in rules["as served"])
    assert [row["found"] for row in rules["KEPT_SHARE 1.1"]] == [0, 0], "no grain keeps more than itself"


def test_the_table_says_what_the_number_is_now() -> None:
    rows = [{"group": "real", "kind": "a", "f1": 1.0, "d50_error": 0.1}]
    lines = label_rules.table({"as served": rows, "TIE 0.1": rows}).splitlines()
    assert lines[2:] == [
        "| as served | 1.000 | 10 % | – | – |",
        f"| `TIE` 0.1, not {label_map.TIE} | 1.000 | 10 % | – | – |",
    ]
