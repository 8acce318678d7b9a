"""Votes of a perfect encoder meet at the grains' centroids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.draw import disk

from grain_handler.sam import seeds
from grain_handler.sam.seeds import Votes
from grain_handler.sam.tiny_encoder import CODE_STRIDE, SEED_CHANNELS
from tests.unit.handler.seedmaps import centroids, perfect

SIDE = 512
CELLS = SIDE // CODE_STRIDE


def votes(labels: NDArray[np.int32]) -> Votes:
    return Votes.read(perfect(labels), CELLS, CELLS)


def tiled(size: int, *, bricks: bool) -> NDArray[np.int32]:
    """Makes touching square grains of `size` px that fill the frame; for bricks every other row is shifted."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    shift = (rows // size % 2) * (size // 2) if bricks else 0
    labels = 1 + rows // size * (SIDE // size + 2) + (columns + shift) // size
    return np.unique(labels, return_inverse=True)[1].reshape(SIDE, SIDE).astype(np.int32) + 1


def assert_one_each(labels: NDArray[np.int32]) -> None:
    """Asserts that each grain has one confident seed at its centre, with the grain's width."""
    found, middles = seeds.find(votes(labels)), centroids(labels)
    areas = np.bincount(labels.ravel())[1:]
    widths = np.sqrt(4 / np.pi * areas)
    distance = np.linalg.norm(found.points[:, None] - middles[None], axis=2)
    nearest = distance.argmin(axis=1)
    assert sorted(nearest) == list(range(len(middles))), "one seed a grain"
    assert (distance.min(axis=1) < np.maximum(4, 0.1 * widths[nearest])).all()
    np.testing.assert_allclose(found.diameters, widths[nearest], rtol=0.1)
    assert (np.diff(found.confidence) <= 1e-6).all(), "surest first"
    # Two levels of size share the votes between them, and the few cells of a small grain are a coarse measure.
    assert (found.confidence > 0.4).all()
    assert (found.confidence < 1.3).all()


@pytest.mark.parametrize("bricks", [False, True])
@pytest.mark.parametrize("size", [16, 24, 32, 64, 128, 256])
def test_grains_that_touch_have_a_seed_each(size: int, bricks: bool) -> None:
    labels = tiled(size, bricks=bricks)
    if bricks:  # half bricks at the frame are smaller, and not tested here
        cut = np.unique(labels[:, [0, -1]])
        labels[np.isin(labels, cut)] = 0
        labels = np.unique(labels, return_inverse=True)[1].reshape(SIDE, SIDE).astype(np.int32)
    assert_one_each(labels)


def test_sizes_may_be_mixed_and_large() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number, (row, column, radius) in enumerate(
        [(180, 180, 150), (345, 345, 80), (60, 400, 50), (400, 120, 30), (440, 220, 16), (470, 40, 10)], start=1
    ):
        labels[disk((row, column), radius)] = number
    assert_one_each(labels)


def test_an_empty_map_has_no_seed() -> None:
    none = votes(np.zeros((SIDE, SIDE), np.int32))
    assert len(none) == 0
    found = seeds.find(none)
    assert len(found) == 0
    assert seeds.cells(found, none).shape == (0, 2)
    assert found.points.shape == (0, 2)


def test_padding_does_not_vote() -> None:
    labels = tiled(64, bricks=False)
    rows, columns = 24, 40
    seen = Votes.read(perfect(labels), rows, columns)
    assert seen.shape == (rows, columns)
    found = seeds.find(seen)
    assert len(found) == (rows // 8) * (columns // 8)
    assert (found.points[:, 0] < 8 * columns).all()
    assert (found.points[:, 1] < 8 * rows).all()


def test_ground_does_not_vote() -> None:
    maps = torch.zeros(SEED_CHANNELS, CELLS, CELLS)
    maps[2] = -0.1
    assert len(Votes.read(maps, CELLS, CELLS)) == 0
    maps[2] = 0.1
    assert len(Votes.read(maps, CELLS, CELLS)) == CELLS**2


def test_votes_outside_are_those_that_nothing_covers() -> None:
    every = votes(tiled(32, bricks=False))
    covered = np.random.default_rng(0).random((CELLS, CELLS)) < 0.5
    rest = every.outside(covered)
    assert len(rest) == np.count_nonzero(~covered)
    column, row = (rest.cells // CODE_STRIDE).astype(int).T
    assert not covered[row, column].any()
    assert len(every.outside(np.zeros_like(covered))) == len(every)
    assert len(every.outside(np.ones_like(covered))) == 0


def test_what_masks_leave_has_its_seeds_where_they_were() -> None:
    labels = tiled(64, bricks=False)
    every = votes(labels)
    covered = np.zeros((CELLS, CELLS), bool)
    covered[:, : CELLS // 2] = True
    left = seeds.find(every.outside(covered))
    assert len(left) == len(seeds.find(every)) // 2
    assert (left.points[:, 0] > SIDE / 2).all()


@pytest.mark.parametrize("size", [16, 32, 128])
def test_a_seeds_cell_lies_in_its_grain(size: int) -> None:
    every = votes(tiled(size, bricks=False))
    found = seeds.find(every)
    assert (np.abs(seeds.cells(found, every) - found.points) <= CODE_STRIDE).all()


def test_the_cell_of_a_ring_is_not_in_its_hole() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[disk((250, 250), 120)] = 1
    labels[disk((250, 250), 70)] = 0
    every = votes(labels)
    (seed,) = (found := seeds.find(every)).points.round().astype(int)
    assert labels[seed[1], seed[0]] == 0
    ((x, y),) = seeds.cells(found, every).astype(int)
    assert labels[y, x] == 1


def test_the_share_of_all_cells_is_the_number_of_grains() -> None:
    labels = tiled(64, bricks=False)
    assert votes(labels).share.sum() == pytest.approx(labels.max(), rel=0.02)
