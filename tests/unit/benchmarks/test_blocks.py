from __future__ import annotations

import numpy as np
import pytest

from benchmarks.blocks import NAMES, Kind, area, intervals, measured, report, section
from grainserve.stats.bootstrap import Resampling


def test_the_area_of_a_polygon() -> None:
    assert area(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]])) == 6
    assert area(np.array([[1.0, 1.0], [1.0, 3.0], [2.0, 1.0]])) == 1


def test_cells_of_a_section_have_a_mean_area_of_one_and_seeds_in_the_frame() -> None:
    sizes, at = section(np.random.default_rng(0), 40)
    assert at.shape == (2, sizes.size)
    assert (at.min(), at.max()) == (0, 39)
    assert np.mean(np.pi / 4 * sizes**2) == pytest.approx(1, rel=0.05)


def test_images_that_differ_are_no_larger_in_the_middle() -> None:
    alike, differ = Kind(1, 0.0).truth(), Kind(1, 0.15).truth()
    assert differ["D50"] == pytest.approx(alike["D50"], rel=0.01)
    assert differ["D90"] > alike["D90"]


def test_blocks_that_are_all_alike_leave_no_doubt_where_grains_do() -> None:
    sizes, block = np.tile([1.0, 2.0, 3.0, 4.0], 20), np.repeat(np.arange(20), 4)
    by = {drawn: intervals(sizes, block, Resampling(drawn, 100))["mean"] for drawn in ("grain", "image")}
    assert by["image"].low == pytest.approx(2.5)
    assert by["grain"].low is not None
    assert by["grain"].low < 2.4


def test_the_table_has_a_row_for_grains_and_for_blocks() -> None:
    cases = measured(Kind(2, 0.15), 2)
    assert [each["statistic"] for each in cases] == [*NAMES] * 2
    first, second = report(cases).splitlines()[2:]
    assert first.startswith("| 15 % | 2 | grains |")
    assert second.startswith("| 15 % | 2 | blocks |")
