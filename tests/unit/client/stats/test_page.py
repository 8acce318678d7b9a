"""docs/statistics.md: its code runs, and its figures are those of the raw results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.blocks import report as blocks_report
from benchmarks.coverage import report as coverage_report
from grainserve import Result
from tests.unit.client.made import make_result

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def raw(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return data


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").mkdir()
    for name in ("sand_1", "sand_2"):
        Result(make_result(name, um_per_px=2.0)).to_json(tmp_path / "results" / f"{name}.json")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/statistics.md", "exec"), {})
    assert re.match(r"D50 by area \d+ µm, too_few_coarser\nvery well sorted\n", capsys.readouterr().out)


def test_its_figures_are_the_raw_results() -> None:
    rows = [
        f"| `{row['method']}` | {row['reference']:.2f} | {row['g']:.2f} | {row['g_from_10_px']:.2f} |"
        for row in raw("e112")["steel"]
    ]
    rows += [
        f"| {row['across']} | {row['true']:.2f} | {row['steps_left_out']:.2f} | {row['steps_counted']:.2f} |"
        for row in raw("e112")["hexagons"]
    ]
    rows += [
        f"| {row['frame']} px | {row['true']:.1f} | {row['all_as_seen']:.1f} | {row['whole_only']:.1f} "
        f"| {row['whole_weighted']:.1f} |"
        for row in raw("populations")["frame"]
    ]
    assert [row for row in rows if row not in PAGE] == []
    assert coverage_report(raw("coverage")["cases"]) in PAGE
    assert blocks_report(raw("blocks")["cases"]) in PAGE


def test_d90_by_area_of_200_grains_covers_or_has_no_interval() -> None:
    cases = [
        each
        for each in raw("coverage")["cases"]
        if (each["statistic"], each["weighting"], each["by"], each["n"]) == ("D90", "area", "grain", 200)
    ]
    assert len(cases) == 2
    assert [each for each in cases if each["without"] < 1 and each["coverage"] < 0.9] == []
