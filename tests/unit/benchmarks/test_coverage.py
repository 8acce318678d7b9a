from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import NAMES, Kind, cell, counted, figures, measured, report
from grainserve.stats import Interval
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.population import population
from grainserve.stats.sample import Sample


@pytest.mark.parametrize("weighting", ["number", "area"])
def test_the_truth_is_that_of_very_many_grains(weighting: str) -> None:
    kind = Kind("grain", 400_000, 0.3, weighting)  # type: ignore[arg-type]
    sample: Sample = kind.sample(np.random.default_rng(0))
    found = figures(population(sample, kind.weighting, Resampling("grain", 0), edge_correction=True))
    assert {name: each.value for name, each in found.items()} == pytest.approx(kind.truth(), rel=0.01)


def test_each_kind_has_a_case_of_each_statistic() -> None:
    cases = measured(Kind("grain", 60, 0.3, "area"), 4, 20)
    assert [each["statistic"] for each in cases] == list(NAMES)
    d95 = next(each for each in cases if each["statistic"] == "D95")
    assert (d95["without"], d95["coverage"], d95["missed"]) == (1, None, 0)


def test_intervals_are_counted_where_there_are_any() -> None:
    found = [{"D50": each} for each in (Interval(9, 8, 11), Interval(7, 6, 8), Interval(10), Interval(14, 9, 15))]
    case = counted(found, "D50", 10.0)
    assert case == {"truth": 10.0, "bias": 0.0, "without": 0.25, "coverage": round(2 / 3, 4), "missed": 0.25}
    assert cell(case) == "67 of 75"
    assert cell({**case, "without": 0.97}) == "–"
    assert cell({**case, "without": 0.0, "coverage": 0.948}) == "95"


def test_the_page_has_a_row_for_each_kind() -> None:
    cases = [
        {"statistic": name, "weighting": "area", "by": by, "n": 50, "width": 0.3, "truth": 1.0, "bias": 0.0,
         "without": 0.0, "coverage": 0.94, "missed": 0.06}
        for by in ("grain", "image") for name in NAMES
    ]  # fmt: skip
    assert report(cases).count("| area | 0.3 | 50 |" + " 94 |" * len(NAMES)) == 2
