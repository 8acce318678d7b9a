"""The bias of ASTM grain sizes, measured on few and small sections."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import astm_bias
from grainserve.stats.astm import METHODS
from tools.mar import ROOT

RESULTS = astm_bias.RESULTS


def test_a_few_sections_make_every_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CELLS", (12,)), ("CELLS_ACROSS", 10), ("FIELDS", 3)):
        monkeypatch.setattr(astm_bias, name, value)
    out = tmp_path / "bias.json"
    monkeypatch.setattr("sys.argv", ["astm_bias.py", "--quick", "--trials", "2", "--out", str(out)])
    assert astm_bias.main() == 0
    cases = json.loads(out.read_text(encoding="utf-8"))["cases"]
    assert [(each["method"], each["gap_px"]) for each in cases] == [(m, gap) for gap in (0, 1, 2) for m in METHODS]
    for each in cases:
        assert each["bias"] == pytest.approx(each["g"] - each["true_g"])
        assert abs(each["bias"]) < 0.5
        assert each["coverage"] in {0, 0.5, 1}


def test_the_true_g_is_that_of_e112_s_formulas() -> None:
    """Cells of 50 µm: 400 per mm², and 4/π · 20 crossings per mm."""
    assert astm_bias.true_g("mean-area", 50) == pytest.approx(3.321928 * math.log10(400) - 2.954)
    assert astm_bias.true_g("intercept-lines", 50) == pytest.approx(6.643856 * math.log10(80 / math.pi) - 3.288)


def test_no_method_is_off_by_more_than_a_twentieth() -> None:
    cases = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"]
    assert {(each["method"], each["gap_px"]) for each in cases} == {(m, gap) for m in METHODS for gap in (0, 1, 2)}
    assert [each for each in cases if abs(each["bias"]) > 0.05] == []


def test_the_page_has_the_table_of_the_results() -> None:
    cases = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"]
    assert astm_bias.page_table(cases) in (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
