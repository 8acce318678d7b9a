"""Closed forms on ideal patterns, and the reference values of the NIST steel."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from grainserve import Result
from grainserve.errors import InvalidOption, MasksMissing, NoScale, NothingCounted
from grainserve.stats import Sample, summarise
from grainserve.stats.astm import (
    METHODS,
    Field,
    fields_grain_size_numbers,
    grain_size_number,
    grain_size_numbers,
    label_grains,
    largest_grain,
    paths,
)
from grainserve.stats.astm.counts import intercepts, jeffries, mean_area, rectangle
from grainserve.stats.astm.gaps import GAP_PX
from grainserve.stats.astm.number import ci95, fields_for, g_from_area_density, g_from_line_density, iso
from tests.unit.client.made import make_result
from tests.unit.client.stats.samples import grid_of_squares, hexagons, voronoi, with_gaps

STEEL = Path(__file__).parents[4].parent / "shared" / "data" / "e112" / "steel_boundaries.tif"


def test_squares_in_the_frame_are_counted_exactly() -> None:
    """10 × 8 squares, shifted by half of one: 9 × 7 whole, 32 halves at the sides, 4 quarters at the corners."""
    assert rectangle(grid_of_squares(160, 200, 20, (10, 10))) == (80.0, 160 * 200)


def test_hexagons_in_the_frame_are_counted_exactly() -> None:
    labels = hexagons(26 * 20, 30 * 20, 30, 26, (7.3, 5.1))
    assert rectangle(labels) == (400.0, 400 * 30 * 26)


def test_whole_squares_have_their_mean_area_exactly() -> None:
    count, area = mean_area(grid_of_squares(170, 190, 20, (7, 3)))
    assert area / count == 400


def test_g_of_squares_is_that_of_their_area() -> None:
    """Ā = 20² µm² exactly: G = −3.321928 log₁₀(Ā/mm²) − 2.954."""
    field = Field(grid_of_squares(160, 200, 20, (10, 10)), 1.0)
    for method in ("planimetric-rectangle", "mean-area"):
        found = grain_size_number(method, [field])
        assert found.g.value == pytest.approx(-3.321928 * math.log10(400e-6) - 2.954, abs=1e-12)
        assert found.g_iso.value == pytest.approx(found.g.value - 0.045)
        assert found.mean_size == pytest.approx(400e-6)


@pytest.mark.parametrize("offset", [(0, 0), (3, 8), (11, 5)])
def test_squares_in_jeffries_circle_are_counted_exactly(offset: tuple[int, int]) -> None:
    """Inside are those with all pixels' centres in the circle, cut those with some: told square by square."""
    side, size = 16, 300
    expected = 0.0
    for top in range(-offset[0], size, side):
        for left in range(-offset[1], size, side):
            rows, columns = np.mgrid[top : top + side, left : left + side]
            within = (columns + 0.5 - size / 2) ** 2 + (rows + 0.5 - size / 2) ** 2 <= (size / 2) ** 2
            framed = top > 0 and left > 0 and top + side < size and left + side < size
            expected += (1.0 if within.all() and framed else 0.5) if within.any() else 0.0
    count, area = jeffries(grid_of_squares(size, size, side, offset))
    assert count == expected
    assert area == pytest.approx(math.pi * 150**2)


def test_lines_along_squares_have_their_side_as_mean_intercept_exactly() -> None:
    labels = grid_of_squares(160, 200, 20, (7, 10))
    across = [paths.line(0, y, 200, y) for y in (3.5, 50.5, 120.5)]
    count, length = intercepts(labels, across)
    assert count == 30
    assert length == pytest.approx(600)


@given(st.floats(3, 87), st.integers(0, 19), st.integers(0, 19))
def test_a_slanted_line_crosses_as_many_squares_as_their_borders_say(degrees: float, down: int, right: int) -> None:
    """Boundaries crossed are the grid's columns and rows between the ends of the line."""
    labels = grid_of_squares(400, 400, 20, (down, right))
    x0, y0 = 10.037, 12.071
    x1, y1 = (start + 300 * part for start, part in zip((x0, y0), _direction(degrees), strict=True))
    crossed = sum(
        math.floor((end + shift) / 20) - math.floor((start + shift) / 20)
        for start, end, shift in ((x0, x1, right), (y0, y1, down))
    )
    count, length = intercepts(labels, [paths.line(x0, y0, x1, y1)])
    assert length == pytest.approx(300)
    # Where less than half a pixel of a square's corner is cut, the line passes through a junction: 1½, not 2.
    assert crossed - _short_corners((x0, y0), (x1, y1), (right, down)) / 2 == count


def _direction(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))


def _short_corners(start: tuple[float, float], end: tuple[float, float], shift: tuple[int, int]) -> int:
    """How many pieces between two borders are shorter than half a pixel."""
    at = [0.0, 300.0]
    for a, b, offset in zip(start, end, shift, strict=True):
        first, last = math.floor((a + offset) / 20) + 1, math.floor((b + offset) / 20)
        at += [(border * 20 - offset - a) / (b - a) * 300 for border in range(first, last + 1)]
    return sum(length < 0.5 for length in np.diff(sorted(at))[1:-1])


def test_rows_of_hexagons_are_crossed_once_or_twice_a_hexagon() -> None:
    """Beside upright edges once, between two rows of hexagons twice: 4/3 a hexagon over all heights."""
    across, apart, columns = 30, 26, 20
    labels = hexagons(apart * 6, across * columns, across, apart, (7.3, 5.1))
    counts = [intercepts(labels, [paths.line(0, y + 0.5, across * columns, y + 0.5)])[0] for y in range(apart * 6)]
    assert set(counts) <= {columns, 2 * columns - 1, 2 * columns}  # one boundary may fall on the frame
    assert np.mean(counts) / columns == pytest.approx(4 / 3, rel=0.05)


def test_mean_intercept_of_hexagons_over_all_directions_is_pi_a_over_p() -> None:
    """Steps of the raster counted as grains would make it a fifth shorter (Cauchy–Crofton: ℓ̄ = πA/P)."""
    across = 60
    labels = hexagons(900, 900, across, round(across * math.sqrt(3) / 2), (0, 0))
    radial = [
        paths.line(450 - 430 * x, 450 - 430 * y, 450 + 430 * x, 450 + 430 * y)
        for x, y in map(_direction, np.linspace(0.5, 179.5, 180))
    ]
    count, length = intercepts(labels, radial)
    assert length / count == pytest.approx(math.pi / 4 * across, rel=0.02)


def test_a_circle_counts_the_boundaries_it_crosses() -> None:
    halves = np.ones((101, 101), np.int32)
    halves[:, 50:] = 2
    circle = paths.circle(50.5, 50.5, 40.0)
    count, length = intercepts(halves, [circle])
    assert count == 2
    assert length == pytest.approx(2 * math.pi * 40)
    assert intercepts(np.ones((101, 101), np.int32), [circle])[0] == 0


def test_a_line_within_a_grain_crosses_nothing() -> None:
    assert intercepts(np.ones((20, 20), np.int32), [paths.line(1, 1, 19, 18)])[0] == 0


def test_drawn_boundaries_are_no_part_of_intercepts() -> None:
    """Squares of 18 px between lines 2 px wide."""
    labels = grid_of_squares(200, 200, 20)
    rows, columns = np.mgrid[:200, :200] % 20
    labels[(rows < 2) | (columns < 2)] = 0
    count, length = intercepts(labels, [paths.line(0, 30.5, 200, 30.5)])
    assert count == 9.5
    assert length == pytest.approx(180)


def test_fields_have_an_interval_and_a_relative_accuracy() -> None:
    """N_A of 3 fields with 1, 2 and 3 squares on 1 mm²: 2 ± 4.303·1/√3."""
    fields = []
    for squares in (1, 2, 3):
        labels = np.zeros((100, 100), np.int32)
        for number in range(squares):
            labels[10:20, 10 + 20 * number : 20 + 20 * number] = number + 1
        fields.append(Field(labels, 10.0))
    found = grain_size_number("planimetric-rectangle", fields)
    half = 4.302653 / math.sqrt(3)
    assert (found.fields, found.count) == (3, 6)
    assert found.density.value == pytest.approx(2)
    assert found.relative_accuracy == pytest.approx(100 * half / 2, rel=1e-6)
    assert found.g.value == pytest.approx(g_from_area_density(2))
    assert found.g.high == pytest.approx(g_from_area_density(2 + half), rel=1e-6)
    assert found.g.low == -math.inf


def test_one_field_has_no_interval() -> None:
    found = grain_size_number("mean-area", [Field(grid_of_squares(100, 100, 20, (5, 5)), 1.0)])
    assert (found.g.low, found.relative_accuracy) == (None, None)


def test_more_fields_are_what_brings_the_relative_accuracy_to_ten() -> None:
    """Densities of 2 ± 1 of three fields: %RA is 100 · 2.776/√5 · ½ with five, and so on until it is 10."""
    wanted = fields_for(10, 2.0, 1.0)
    assert 100 * ci95(1.0, wanted) / 2 <= 10 < 100 * ci95(1.0, wanted - 1) / 2
    assert wanted == 99  # (1.96 · 100 · 1 / (10 · 2))² is 96, and t is larger than 1.96
    assert fields_for(10, 2.0, 0.0) == 2
    assert ci95(1.0, 5) == pytest.approx(2.776445 / math.sqrt(5))
    assert ci95(2.0, 2) == pytest.approx(12.706205 * 2 / math.sqrt(2))


def test_what_e112_asks_to_be_reported_is_said() -> None:
    labels = grid_of_squares(160, 200, 20, (10, 10))
    fields = [Field(labels, scale) for scale in (1.0, 1.1, 0.9)]
    found = grain_size_number("planimetric-rectangle", fields)
    densities = [1 / (400e-6 * scale**2) for scale in (1.0, 1.1, 0.9)]
    assert found.ci95 is not None
    assert found.relative_accuracy is not None
    assert found.standard_deviation == pytest.approx(np.std(densities, ddof=1))
    assert found.ci95 == pytest.approx(4.302653 * np.std(densities, ddof=1) / math.sqrt(3), rel=1e-6)
    assert found.relative_accuracy == pytest.approx(100 * found.ci95 / np.mean(densities))
    assert found.relative_accuracy > 10
    assert found.more_fields == fields_for(10, float(np.mean(densities)), float(np.std(densities, ddof=1))) - 3
    assert grain_size_number("planimetric-rectangle", fields[:1] * 3).more_fields == 0
    alone = grain_size_number("planimetric-rectangle", fields[:1])
    assert (alone.standard_deviation, alone.ci95, alone.more_fields) == (None, None, None)


def test_doubling_the_scale_takes_two_off_g() -> None:
    labels = grid_of_squares(160, 200, 20, (7, 3))
    for method in METHODS:
        one, two = (grain_size_number(method, [Field(labels, scale)]).g.value for scale in (1.0, 2.0))
        assert one - two == pytest.approx(2, abs=1e-5)


def test_g_of_a_millimetre() -> None:
    """ASTM E112, table 4: G 0 has 7.75 grains per mm² and ℓ̄ of 320 µm; G 10 of 7936 per mm² and 10 µm."""
    assert g_from_area_density(7.75) == pytest.approx(0, abs=0.01)
    assert g_from_area_density(7936) == pytest.approx(10, abs=0.01)
    assert g_from_line_density(1 / 0.320) == pytest.approx(0, abs=0.01)
    assert g_from_line_density(1 / 0.010) == pytest.approx(10, abs=0.01)


def test_a_method_that_is_not_there_and_a_field_without_grains_are_told() -> None:
    with pytest.raises(InvalidOption, match="intercept-lines"):
        grain_size_number("hilliard", [Field(np.ones((9, 9), np.int32), 1.0)])
    with pytest.raises(NothingCounted, match="steel has no grains"):
        grain_size_number("mean-area", [Field(np.ones((9, 9), np.int32), 1.0, "steel")])


def test_the_largest_grain_of_a_sample_is_named() -> None:
    results = [Result(make_result(name, um_per_px=scale)) for name, scale in (("a", 2.0), ("b", 3.0))]
    found = summarise(Sample.of(results), resamples=0, astm=["mean-area"]).largest_grain
    assert found is not None
    assert (found.image, found.grain, found.touches_edge) == ("b", 2, False)
    area = results[1].grains[1].area * 9e-6
    assert found.area == pytest.approx(area)
    assert found.g == pytest.approx(-3.321928 * math.log10(area) - 2.954)


def test_masks_are_needed() -> None:
    result = Result(make_result(um_per_px=1.0, mask_format="none"))
    with pytest.raises(MasksMissing):
        result.statistics(astm=["intercept-lines"])


@pytest.mark.skipif(not STEEL.exists(), reason=f"{STEEL.name} of the NIST steel is not at hand")
@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("intercept-lines", 10.51),
        ("intercept-pattern", 10.34),
        ("intercept-circles", 10.34),
        ("planimetric-rectangle", 9.96),
        ("planimetric-jeffries", 9.96),
        ("mean-area", 10.16),
    ],
)
def test_g_of_the_nist_steel_is_that_of_the_reference(method: str, reference: float) -> None:
    with Image.open(STEEL) as image:
        labels = label_grains(np.asarray(image) > 0)
    assert grain_size_number(method, [Field(labels, 50 / 222)]).g.value == pytest.approx(reference, abs=0.3)


# By hand --------------------------------------------------------------------------------------------------------------


def marked(*pixels: tuple[int, int]) -> NDArray[np.int32]:
    """A map of 7 × 7 px with a grain of one pixel at each of these places."""
    labels = np.zeros((7, 7), np.int32)
    for label, pixel in enumerate(pixels, start=1):
        labels[pixel] = label
    return labels


SIDES = (0, 3), (6, 3), (3, 0), (3, 6)
NEXT_TO_THEM = (1, 3), (5, 3), (3, 1), (3, 5)
CORNERS = (0, 0), (0, 6), (6, 0), (6, 6)


def test_grains_on_the_frame_are_not_whole() -> None:
    assert mean_area(marked(*SIDES, *NEXT_TO_THEM, *CORNERS)) == (4, 4)
    assert mean_area(marked(*SIDES)) == (0, 0)


def test_grains_on_the_frame_are_halves_and_those_at_its_corners_quarters() -> None:
    assert rectangle(marked(*NEXT_TO_THEM)) == (4, 49)
    assert rectangle(marked(*SIDES)) == (2, 49)
    assert rectangle(marked(*CORNERS)) == (1, 49)
    assert rectangle(marked(*SIDES, *NEXT_TO_THEM, *CORNERS)) == (7, 49)
    assert rectangle(np.ones((7, 7), np.int32)) == (0.25, 49)


def test_jeffries_circle_is_in_the_middle_of_a_longer_frame() -> None:
    """In 7 × 11 px the circle of radius 3.5 is around (5.5, 3.5): four pixels are in it, two on the frame."""
    labels = np.zeros((7, 11), np.int32)
    within, at_sides, outside = ((3, 2), (3, 8), (1, 5), (3, 5)), ((0, 5), (6, 5)), ((3, 1), (3, 9), (0, 2))
    for label, pixel in enumerate((*within, *at_sides, *outside), start=1):
        labels[pixel] = label
    assert jeffries(labels) == pytest.approx((4 + 2 / 2, math.pi * 3.5**2))
    labels[3, 1] = labels[3, 2]  # it reaches out
    assert jeffries(labels)[0] == 3 + 3 / 2
    assert jeffries(labels.T)[0] == 3 + 3 / 2


def test_a_circle_may_begin_where_a_grain_does() -> None:
    """It begins on the right, in the middle of its height; here a boundary is there, and in the halves above none."""
    labels = np.ones((100, 100), np.int32)
    labels[50:] = 2
    assert intercepts(labels, [paths.circle(50, 50, 40)])[0] == 2
    labels[50:, :50] = 3
    assert intercepts(labels, [paths.circle(50, 50, 40)])[0] == 3
    labels[:50] = 0
    assert intercepts(labels, [paths.circle(50, 50, 40)]) == pytest.approx((2, 40 * math.pi))
    assert intercepts(np.zeros((100, 100), np.int32), [paths.circle(50, 50, 40)]) == (0, 0)


def test_a_grain_of_one_pixel_counts_and_a_shorter_run_does_not() -> None:
    labels = np.arange(1, 10, dtype=np.int32).reshape(3, 3)
    assert intercepts(labels, [paths.line(0, 0.5, 3, 0.5)]) == (2, 3)
    assert intercepts(labels, [paths.line(1.2, 1.5, 1.7, 1.5)]) == pytest.approx((0, 0.5))


def test_a_line_that_ends_on_a_boundary_has_no_half_there() -> None:
    labels = np.array([[0, 0, 1, 1, 1, 2, 2, 2, 0, 0]], np.int32)
    assert intercepts(labels, [paths.line(0, 0.5, 10, 0.5)]) == pytest.approx((2, 6))
    assert intercepts(labels, [paths.line(2, 0.5, 10, 0.5)]) == pytest.approx((1.5, 6))
    assert intercepts(labels, [paths.line(2, 0.5, 8, 0.5)]) == pytest.approx((1, 6))


def test_of_nothing_g_is_without_end() -> None:
    assert (g_from_area_density(0), g_from_line_density(0)) == (-math.inf, -math.inf)
    assert g_from_area_density(1) == -2.954
    assert g_from_area_density(10) == pytest.approx(3.321928 - 2.954, abs=1e-12)
    assert g_from_line_density(1) == -3.288
    assert g_from_line_density(10) == pytest.approx(6.643856 - 3.288, abs=1e-12)
    assert iso(3.0) == 2.955


def test_intercepts_per_mm_by_hand() -> None:
    """Upright bands 20 px wide at 5 µm per px: 10 per mm along level lines, 0 along upright ones."""
    labels = np.tile(np.repeat(np.arange(1, 11, dtype=np.int32), 20), (200, 1))
    found = grain_size_number("intercept-lines", [Field(labels, 5.0)] * 2)
    assert found.density_unit == "mm⁻¹"
    count, length = intercepts(labels, paths.line_grid(200, 200))
    assert (found.count, found.fields) == (2 * count, 2)
    assert found.density.value == pytest.approx(count / (length * 0.005))
    assert found.mean_size == pytest.approx(1 / found.density.value)
    assert found.g.value == g_from_line_density(found.density.value)
    assert found.relative_accuracy == pytest.approx(0, abs=1e-9)


def test_two_fields_have_an_interval_by_hand() -> None:
    """N_A of 3 and 5 per mm²: 4 ± 12.7062·√2/√2."""
    fields = []
    for count in (3, 5):
        labels = np.zeros((100, 100), np.int32)
        labels[10, 10 : 10 + 2 * count : 2] = np.arange(1, count + 1)
        fields.append(Field(labels, 10.0))
    found = grain_size_number("planimetric-rectangle", fields)
    assert found.density.value == 4
    assert found.density.low == 0.0
    assert found.density.high == pytest.approx(4 + 12.7062, abs=1e-4)
    assert found.density_unit == "mm⁻²"


def test_grains_that_meet_at_corners_are_two() -> None:
    boundaries = np.eye(4, dtype=bool)
    labels = label_grains(boundaries)
    assert labels.dtype == np.int32
    assert (labels[boundaries] == 0).all()
    assert len({labels[0, 3], labels[3, 0], 0}) == 3
    assert labels.max() == 2


def test_the_largest_grain_of_a_sample_by_hand() -> None:
    """Of two equal images at 2 µm per px the largest disc, of radius 12 px, is the second grain of the first."""
    sample = Sample.of([Result(make_result(name, um_per_px=2.0)) for name in ("a", "b")])
    pixels = sample.results[0].grains[1].area
    found = largest_grain(sample)
    assert (found.image, found.grain, found.touches_edge) == ("a", 2, False)
    assert found.area == pytest.approx(pixels * 4e-6, rel=1e-12)
    area = sample.area.copy()
    area[7] = 1e9
    found = largest_grain(dataclasses.replace(sample, area=area))
    assert (found.image, found.grain, found.touches_edge) == ("b", 4, True)
    assert found.area == pytest.approx(1e3, rel=1e-12)
    with pytest.raises(NoScale, match="an ASTM grain size"):
        largest_grain(Sample.of([Result(make_result("a"))]))


def test_each_image_of_a_sample_is_a_field_cut_to_its_frame() -> None:
    results = [Result(make_result(name, um_per_px=scale)) for name, scale in (("a", 2.0), ("b", 4.0))]
    (found,) = grain_size_numbers(Sample.of(results), ["mean-area"])
    fields = [Field(each.label_map[each.frame.slices], each.um_per_px or 0) for each in results]
    assert found == grain_size_number("mean-area", fields)
    with pytest.raises(NothingCounted, match="image empty"):
        grain_size_numbers(Sample.of([Result(make_result("empty", um_per_px=1.0, masks=[]))]), ["mean-area"])


def test_a_line_along_a_rastered_boundary_crosses_it_once() -> None:
    """Boundary and line both rise a tenth: the pixels' steps cross the line again and again."""
    rows, columns = np.mgrid[:60, :200]
    labels = np.where(rows + 0.5 < 20 + (columns + 0.5) / 10, 1, 2).astype(np.int32)
    assert len(set(labels[paths.line(0, 20, 200, 40.5).rows, paths.line(0, 20, 200, 40.5).columns].tolist())) == 2
    assert intercepts(labels, [paths.line(0, 19, 200, 42)])[0] == 1
    assert intercepts(labels, [paths.line(0, 22, 200, 38)])[0] == 1


def test_a_corner_that_a_line_cuts_counts_and_a_junction_counts_one_and_a_half() -> None:
    """Three grains meet at (40, 40): one on the left, two on the right, one above the other."""
    labels = np.ones((80, 80), np.int32)
    labels[:40, 40:], labels[40:, 40:] = 2, 3

    def crossed(y_at_the_corner: float) -> float:
        return intercepts(labels, [paths.line(20, y_at_the_corner - 10, 60, y_at_the_corner + 10)])[0]

    assert crossed(36.0) == 2  # 8 px within grain 2
    assert crossed(39.6) == 2  # 0.9 px
    assert crossed(39.9) == 1.5  # 0.2 px: the junction, as far as the raster tells
    assert crossed(40.1) == 1


def test_a_grain_that_a_line_grazes_counts_a_half() -> None:
    labels = np.ones((40, 40), np.int32)
    labels[20:, 10:30] = 2
    assert intercepts(labels, [paths.line(0, 20.5, 40, 20.5)])[0] == 0.5
    assert intercepts(labels, [paths.line(0, 19.5, 40, 19.5)])[0] == 0
    assert intercepts(labels, [paths.line(0, 21.5, 40, 21.5)])[0] == 2


def test_large_grains_count_more_in_the_mean_area_as_they_are_whole_more_rarely() -> None:
    """60 × 60 px squares are whole in (1 − 0.6)², 10 × 10 px ones in (1 − 0.1)² of frames of 100 × 100 px."""
    labels = np.zeros((100, 100), np.int32)
    labels[5:65, 5:65], labels[80:90, 80:90] = 1, 2
    count, area = mean_area(labels)
    large, small = 1 / 0.4**2, 1 / 0.9**2
    assert area / count == pytest.approx((3600 * large + 100 * small) / (large + small))


@pytest.fixture(scope="module")
def fine() -> dict[str, float]:
    """G of four sections by each method, from pixels so small that a raster does nothing."""
    return voronoi_g(4)


def voronoi_g(pixels: int, gap: int = 0, gaps: int = GAP_PX) -> dict[str, float]:
    """G of the same four sections, whose cells are 25 µm, from pixels of 1/`pixels` µm."""
    sections = [voronoi(np.random.default_rng(seed), 300 * pixels, 25 * pixels) for seed in range(4)]
    fields = [Field(with_gaps(section, gap), 1 / pixels) for section in sections]
    return {each.method: each.g.value for each in fields_grain_size_numbers(METHODS, fields, gaps=gaps)}


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_g_is_the_same_whatever_boundaries_are_wide(gap: int, fine: dict[str, float]) -> None:
    assert voronoi_g(1, gap) == pytest.approx(fine, abs=0.05)


def test_gaps_that_stay_open_make_g_too_fine(fine: dict[str, float]) -> None:
    found = voronoi_g(1, gap=2, gaps=0)
    off = {method: g - fine[method] for method, g in found.items()}
    assert min(off["intercept-lines"], off["intercept-circles"], off["mean-area"]) > 0.15
    assert abs(off["planimetric-rectangle"]) < 0.05


def test_gaps_to_close_are_no_negative_width() -> None:
    with pytest.raises(InvalidOption, match="-1"):
        grain_size_number("mean-area", [Field(grid_of_squares(60, 60, 20), 1.0)], gaps=-1)
