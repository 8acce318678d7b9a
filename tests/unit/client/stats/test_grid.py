"""Grids over known label maps."""

from __future__ import annotations

import numpy as np
import pytest

from grainserve import Result
from grainserve.errors import InvalidOption, MasksMissing
from grainserve.stats import Sample, summarise
from grainserve.stats.grid import nodes, on_grid
from tests.unit.client.made import HEIGHT, WIDTH, make_result


def rectangles(um_per_px: float | None = None) -> Sample:
    """Makes a map of 80 × 60 px: a large rectangle, a column of small ones, and one in the corner without a node."""
    masks = [np.zeros((HEIGHT, WIDTH), bool) for _ in range(4)]
    masks[0][10:50, 10:40] = True
    masks[1][10:18, 50:58] = True
    masks[2][33:36, 59:62] = True
    masks[3][:5, :7] = True
    return Sample.of([Result(make_result(masks=masks, um_per_px=um_per_px))])


def test_nodes_keep_away_from_the_sides() -> None:
    assert nodes(80, 20).tolist() == [8, 28, 48, 68]
    assert nodes(60, 20).tolist() == [6, 26, 46]
    assert nodes(240, 20).tolist() == list(range(24, 216, 20))


def test_a_grain_is_taken_once_however_many_nodes_hit_it() -> None:
    """Nodes are 4 px apart, at x 8, 12, … and y 6, 10, …: the large grain has many nodes, the corner's grain none."""
    found = on_grid(rectangles(), 4.0)
    assert found.area.tolist() == [1200, 64, 9]
    assert found.image.tolist() == [0, 0, 0]
    assert found.grid


def test_a_wide_grid_hits_what_lies_under_its_nodes() -> None:
    assert on_grid(rectangles(), 20.0).area.tolist() == [1200]  # 28, 26 and 28, 46
    assert on_grid(rectangles(), 42.0).area.tolist() == []  # 8, 50 across; 6, 48 down
    assert on_grid(rectangles(), 11.0).area.tolist() == [1200, 64]  # 52, 17 hits the small one


def test_the_default_is_a_twelfth_of_the_width_and_spacings_are_in_the_sample_s_unit() -> None:
    twelfth = WIDTH / 12
    assert on_grid(rectangles()).area.tolist() == on_grid(rectangles(), twelfth).area.tolist()
    scaled = on_grid(rectangles(um_per_px=5.0), 11.0 * 5.0)
    assert (scaled.area / 25).tolist() == on_grid(rectangles(), 11.0).area.tolist()


def test_a_spacing_under_a_pixel_is_refused() -> None:
    for each in (0.0, 0.5, -3.0, float("nan")):
        with pytest.raises(InvalidOption, match="must be 1 or more"):
            on_grid(rectangles(), each)


def test_a_grid_needs_masks() -> None:
    with pytest.raises(MasksMissing):
        on_grid(Sample.of([Result(make_result(mask_format="none"))]))


def test_the_grains_of_each_image_are_its_own() -> None:
    one = Result(make_result("a"))
    pooled = on_grid(Sample.of([one, one]))
    alone = on_grid(Sample.of([one]))
    assert pooled.area.tolist() == alone.area.tolist() * 2
    assert pooled.image.tolist() == [0] * len(alone) + [1] * len(alone)


def test_a_grid_is_not_corrected_for_the_frame_and_says_so() -> None:
    found = summarise(on_grid(rectangles(), 11.0), resamples=0)
    assert (found.grid, found.edge_correction, found.grains) == (True, False, 2)
    assert found.number.mean.value == pytest.approx((2 * np.sqrt(1200 / np.pi) + 2 * np.sqrt(64 / np.pi)) / 2)
    with pytest.raises(InvalidOption, match="leave the grid out"):
        summarise(on_grid(rectangles(um_per_px=1.0), 11.0), astm=["mean-area"])


def test_a_grid_by_number_is_a_sample_by_area() -> None:
    """Large grains are hit more often: in a mixed image a fine grid's mean size is far over that by number."""
    masks = [np.zeros((HEIGHT, WIDTH), bool) for _ in range(13)]
    masks[0][8:52, 8:40] = True
    for index, mask in enumerate(masks[1:]):
        mask[9 + 7 * (index % 6), 45 + 7 * (index // 6)] = True  # one pixel each
    sample = Sample.of([Result(make_result(masks=masks))])
    assert len(on_grid(sample, 7.0)) < 4 < len(sample)
