"""Merged grains compared with the truth, for segmenters with known faults."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainserve.results.frame import Box
from grainserve.results.masks import Window, paint_labels
from grainserve.tiles.layout import Layout
from grainserve.tiles.merge import CLAIM, Sighting, merge
from tests.unit.client.tiles.truth import Truth, diameters, packing, sightings

SIDE = 4096
LAYOUT = Layout.of(SIDE, SIDE, 128)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return packing(SIDE)


@pytest.fixture(scope="module")
def faulty(truth: Truth) -> list[Sighting]:
    """The merged image of a segmenter with every kind of fault."""
    return sightings(LAYOUT, truth.faulty(1))


@pytest.fixture(scope="module")
def missing(truth: Truth) -> list[Sighting]:
    """The merged image of a segmenter that only misses grains and is a pixel off."""
    return sightings(LAYOUT, truth.faulty(1, halved=0.0, invented=0.0))


def distance_to_seam(windows: list[Window]) -> NDArray[np.float64]:
    """Returns distances of bounding boxes' centres from seams, px; at most half the extent if a seam cuts the grain."""
    seams = np.array([(start + following + 1024) / 2 for start, following in pairwise(LAYOUT.columns)])
    middles = np.array([(each.x + each.patch.shape[1] / 2, each.y + each.patch.shape[0] / 2) for each in windows])
    return np.asarray(np.abs(middles[..., None] - seams).min(axis=(1, 2)))


def test_from_a_segmenter_without_faults_come_exactly_the_true_grains(truth: Truth) -> None:
    merged = merge(LAYOUT, sightings(LAYOUT, truth.oracle))
    assert len(merged.grains) == truth.labels.max() > 5000
    assert (merged.agreement, merged.shared, merged.too_large) == (1.0, 0, [])
    windows = [each.window for each in merged.grains]
    firsts = [(each.y, each.x + int(np.argmax(each.patch[0]))) for each in windows]
    assert firsts == sorted(firsts), "in reading order"
    true_label = np.array([0, *(truth.labels[first] for first in firsts)])
    assert np.array_equal(true_label[paint_labels(windows, range(1, len(windows) + 1), SIDE, SIDE)], truth.labels)


def test_count_and_d50_hold_to_the_truth_as_one_tile_s_do(truth: Truth, faulty: list[Sighting]) -> None:
    seen = [each.window for each in faulty]
    there = [window for tile in LAYOUT.tiles for window in truth.within(tile)]
    merged = [each.window for each in merge(LAYOUT, faulty).grains]
    assert len(seen) / len(there) != pytest.approx(1.0, abs=0.02), "the segmenter errs"
    assert len(merged) / len(truth.windows) == pytest.approx(len(seen) / len(there), abs=0.01)
    for percent in (16, 50, 84):
        ours = np.percentile(diameters(merged), percent) / np.percentile(diameters(truth.windows), percent)
        one = np.percentile(diameters(seen), percent) / np.percentile(diameters(there), percent)
        assert ours == pytest.approx(one, abs=0.02), percent


@pytest.mark.parametrize("kind", ["faulty", "missing"])
def test_no_seam_is_visible(truth: Truth, kind: str, request: pytest.FixtureRequest) -> None:
    """Compared with the truth, grains at seams are as many and as large as elsewhere."""
    merged = [each.window for each in merge(LAYOUT, request.getfixturevalue(kind)).grains]
    windows = {"found": merged, "true": truth.windows}
    away = {name: distance_to_seam(each) for name, each in windows.items()}
    sizes = {name: diameters(each) for name, each in windows.items()}
    ratios = []
    for nearest, furthest in ((0, 40), (40, 128), (128, SIDE)):
        found, true = (sizes[name][(away[name] >= nearest) & (away[name] < furthest)] for name in ("found", "true"))
        quartiles = np.percentile(found, [25, 50, 75]) / np.percentile(true, [25, 50, 75])
        ratios.append([len(found) / len(true), *quartiles])
    seam, overlap, core = np.array(ratios)
    assert seam == pytest.approx(core, abs=0.05)
    assert overlap == pytest.approx(core, abs=0.05)


def test_what_only_another_tile_saw_is_no_grain(truth: Truth, missing: list[Sighting]) -> None:
    """Otherwise overlaps, which are seen twice, would have more grains than the rest."""
    found = len(merge(LAYOUT, missing).grains)
    assert found / len(truth.windows) == pytest.approx(0.88, abs=0.01)
    seen_by_any = {label for each in missing if (label := truth.labels[each.window.slices()][each.window.patch].max())}
    assert len(seen_by_any) / len(truth.windows) > 0.91


def test_memory_does_not_grow_with_the_frame_of_each_mask(faulty: list[Sighting]) -> None:
    tracemalloc.start()
    merge(LAYOUT, faulty)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < SIDE * SIDE, "less than one mask of the frame, for thousands of grains"


# Random grains on random layouts -------------------------------------------------------------------------------------


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Layout, list[Window]]:
    """Draws rectangles in some cells of a grid, one in each, which share no outer pixels."""
    width, height = draw(st.integers(1025, 3000)), draw(st.integers(700, 3000))
    layout = Layout.of(width, height, draw(st.integers(20, 200)))
    cell = draw(st.integers(60, 700))
    grains = []
    for y in range(0, height, cell):
        for x in range(0, width, cell):
            if draw(st.booleans()):
                box = [sorted(draw(st.tuples(st.integers(0, cell), st.integers(0, cell)))) for _ in range(2)]
                right, bottom = min(width, x + box[0][1]), min(height, y + box[1][1])
                left, top = min(x + box[0][0], right - 1), min(y + box[1][0], bottom - 1)
                grains.append(Window(left, top, np.ones((bottom - top, right - left), bool)))
    return layout, [each for each in grains if each.x >= 0 and each.y >= 0 and each.patch.size]


def cut_to(window: Window, tile: Box) -> Window:
    left, top = max(window.x, tile.x), max(window.y, tile.y)
    right = min(window.x + window.patch.shape[1], tile.x + tile.width)
    bottom = min(window.y + window.patch.shape[0], tile.y + tile.height)
    return Window(left, top, np.ones((max(0, bottom - top), max(0, right - left)), bool))


@given(scene=scenes())
def test_every_grain_that_a_tile_sees_whole_comes_once_and_no_other(scene: tuple[Layout, list[Window]]) -> None:
    layout, grains = scene
    pieces = [(index, cut_to(each, tile)) for index, tile in enumerate(layout.tiles) for each in grains]
    seen = [Sighting(index, piece, {"score": 0.9}) for index, piece in pieces if piece.patch.size]
    merged = merge(layout, seen)
    boxes = [Box(each.x, each.y, each.patch.shape[1], each.patch.shape[0]) for each in grains]
    whole = [box for box in boxes if layout.holders(box)]
    assert sorted(map(str, (each.box for each in merged.grains))) == sorted(map(str, whole))
    assert bool(merged.too_large) == (len(whole) < len(boxes))
    assert all(extent > layout.overlap // 2 for extent in merged.too_large)


# Disagreement --------------------------------------------------------------------------------------------------------


def block(tile: int, x: int, y: int, width: int, score: float = 0.9) -> Sighting:
    return Sighting(tile, Window(x, y, np.ones((50, width), bool)), {"score": score})


TWO = Layout.of(1792, 1000, 128)  # the seam is at 896


def test_both_or_neither_of_two_tiles_may_own_what_they_see() -> None:
    both = [block(0, 870, 100, 50), block(1, 872, 100, 50)]
    neither = [block(0, 872, 300, 50), block(1, 870, 300, 50)]
    merged = merge(TWO, [*both, *neither])
    assert len(merged.grains) == 2
    assert merged.agreement == 1.0


@pytest.mark.parametrize(("better", "kept"), [(0, 1), (1, 1)])
def test_of_two_that_claim_the_same_pixels_the_better_stays(better: int, kept: int) -> None:
    merged_in_one = block(0, 840, 100, 100, 0.9 if better == 0 else 0.5)
    half = block(1, 900, 100, 40, 0.7)
    found = merge(TWO, [merged_in_one, half]).grains
    assert found == [[merged_in_one, half][better]]
    assert len(found) == kept


def test_a_small_claim_trims_nothing_and_is_counted() -> None:
    left, right = block(0, 840, 100, 54), block(1, 892, 100, 50, 0.6)
    merged = merge(TWO, [left, right])
    assert merged.grains == [left, right]
    assert merged.shared == 2 * 50 < CLAIM * right.area


def test_masks_that_may_overlap_have_no_conflicts() -> None:
    cluster, part = block(0, 840, 100, 100), block(1, 900, 100, 40)
    assert len(merge(TWO, [cluster, part], overlapping=True).grains) == 2
