from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import batched_mask_to_box
from torch import Tensor

from grain_handler.sam.memory import Budget
from grain_handler.sam.upsampling import TILE, Tiles, Upsampler
from tests.unit.handler.logits import CPU, ROUNDING, inside, masks, stock, upsampler

BUDGET = Budget(CPU, 64)

SIZES = [
    (1, 1),
    (1, 1024),
    (1000, 3),
    (2, 700),
    (32, 32),
    (333, 517),
    (700, 1000),
    (1024, 1024),
    (256, 256),
    (900, 1500),
]


def cut(ours: Upsampler, logits: Tensor, lowest: float) -> Tiles:
    return ours.tiles(logits[:, : ours.vertical.low, : ours.horizontal.low], 0.0, lowest)


def assert_same(logits: Tensor, frame: int, size: tuple[int, int], offset: float) -> None:
    ours, pixels = upsampler(frame, size), stock(logits, frame, size)
    tiles = cut(ours, logits, -offset)
    assert_pixels(ours, tiles, pixels, -offset)
    assert_measures(*ours.measure(tiles, len(logits), offset, BUDGET), pixels, offset)


def assert_pixels(ours: Upsampler, tiles: Tiles, pixels: Tensor, lowest: float) -> None:
    """Asserts that pixels in tiles are as in stock, and that outside no pixel of stock's exceeds the threshold."""
    found, rest = ours.pixels(tiles), pixels.clone()
    for tile, (mask, row, column) in enumerate(zip(tiles.mask, tiles.row, tiles.column, strict=True)):
        y, rows = int(ours.vertical.first[row]), int(ours.vertical.count[row])
        x, columns = int(ours.horizontal.first[column]), int(ours.horizontal.count[column])
        there = pixels[mask, y : y + rows, x : x + columns]
        torch.testing.assert_close(found[tile, :rows, :columns], there, rtol=0, atol=ROUNDING)
        assert found[tile].count_nonzero() == found[tile, :rows, :columns].count_nonzero()
        rest[mask, y : y + rows, x : x + columns] = lowest
    assert rest.max() <= lowest + ROUNDING


def assert_measures(stability: Tensor, boxes: Tensor, pixels: Tensor, offset: float) -> None:
    """Compares measures; pixels within rounding of a threshold may fall on either side of it."""

    def ratio(shift: float) -> Tensor:
        return (pixels > offset + shift).sum((1, 2)) / (pixels > -offset - shift).sum((1, 2))

    least, exact, most = (ratio(shift) for shift in (ROUNDING, 0, -ROUNDING))
    loose = least.nan_to_num(-1) != most.nan_to_num(-1)
    assert torch.equal(stability[~loose].nan_to_num(-1), exact[~loose].nan_to_num(-1))
    assert (stability[loose].nan_to_num(0) >= least[loose].nan_to_num(0)).all()
    assert (stability[loose].nan_to_num(1) <= most[loose].nan_to_num(torch.inf)).all()
    small, large = (batched_mask_to_box(pixels > shift) for shift in (ROUNDING, -ROUNDING))
    sure = (small == large).all(1)
    assert torch.equal(boxes[sure], small[sure])
    assert sure.float().mean() > 0.5


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_published_frame(size: tuple[int, int]) -> None:
    assert_same(masks(1, 256), 1024, size, 1.0)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    frame=st.sampled_from([32, 64, 144, 256]),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    offset=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_any_image(seed: int, frame: int, height: int, width: int, offset: float) -> None:
    assume(min(inside(frame, (height, width))) > 0)  # stock fails on an image without a pixel in the frame
    assert_same(masks(seed, frame // 4), frame, (height, width), offset)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (500, 700)])
def test_every_pixel_is_in_one_tile(size: tuple[int, int]) -> None:
    ours = upsampler(1024, size)
    for axis, length in zip((ours.vertical, ours.horizontal), size, strict=True):
        assert axis.first.tolist() == [0, *torch.cumsum(axis.count, 0).tolist()[:-1]]
        assert int(axis.count.sum()) == length
        assert len(axis.first) == axis.tiles


def test_the_mask_threshold_is_taken_off() -> None:
    ours, logits = upsampler(256, (150, 256)), masks(5, 64)[:, :40]
    raised, plain = ours.tiles(logits + 3, 3.0, -1.0), ours.tiles(logits, 0.0, -1.0)
    torch.testing.assert_close(raised.logits, plain.logits)
    assert torch.equal(raised.mask, plain.mask)


def test_masks_without_pixels() -> None:
    ours = upsampler(256, (100, 120))
    tiles = cut(ours, torch.full((2, 64, 64), -5.0), -1.0)
    assert len(tiles) == 0
    stability, boxes = ours.measure(tiles, 2, 1.0, BUDGET)
    assert stability.isnan().all()
    assert boxes.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_no_masks() -> None:
    ours = upsampler(256, (100, 120))
    stability, boxes = ours.measure(cut(ours, torch.zeros(0, 64, 64), -1.0), 0, 1.0, BUDGET)
    assert (stability.shape, boxes.shape) == ((0,), (0, 4))


def test_small_masks_have_few_tiles() -> None:
    logits = torch.full((3, 256, 256), -5.0)
    logits[0, 5:9, 7:13] = 1
    logits[1, 250:, 250:] = 1
    logits[2, :, 100:108] = 1
    tiles = cut(upsampler(1024, (1024, 1024)), logits, -1.0)
    assert torch.bincount(tiles.mask).tolist() == [1, 1, 16]


@pytest.mark.parametrize("mib", [1, 2])
def test_measured_in_parts_or_at_once(mib: int) -> None:
    ours = upsampler(256, (150, 256))
    tiles = cut(ours, masks(2, 64), -1.0)
    assert Budget(CPU, mib).chunk(ours.bytes_per_tile) < len(tiles) <= BUDGET.chunk(ours.bytes_per_tile)
    for at_once, in_parts in zip(
        ours.measure(tiles, 12, 1.0, BUDGET), ours.measure(tiles, 12, 1.0, Budget(CPU, mib)), strict=True
    ):
        assert torch.equal(at_once.nan_to_num(-1), in_parts.nan_to_num(-1))


def test_chosen_masks_are_numbered_anew() -> None:
    tiles = cut(upsampler(256, (150, 256)), masks(2, 64), -1.0)
    chosen = torch.tensor([9, 6, 0, 11])  # 0 has no tiles
    found = tiles.of(chosen, 12)
    assert found.mask.tolist() == sorted(found.mask.tolist())
    for number, mask in enumerate(chosen.tolist()):
        mine, its = found[found.mask == number], tiles[tiles.mask == mask]
        assert all(torch.equal(getattr(mine, name), getattr(its, name)) for name in ("logits", "row", "column"))


def test_masks_cover_their_pixels() -> None:
    ours, logits = upsampler(256, (150, 256)), masks(3, 64)
    height, width = ours.vertical.low, ours.horizontal.low
    covered = torch.zeros(height, width, dtype=torch.bool)
    cut(ours, logits[7:9], -1.0).cover(covered)
    assert torch.equal(covered, (logits[7:9, :height, :width] > 0).any(0))


@pytest.mark.parametrize("size", [(1, 1), (5, 1024), (1024, 600), (700, 700)])
def test_only_tokens_within_the_image_are_needed(size: tuple[int, int]) -> None:
    """Tokens in the frame's padding contribute to no pixel."""
    ours, logits = upsampler(1024, size), masks(4, 256)
    padded = logits.clone()
    padded[:, ours.vertical.low :] = padded[:, :, ours.horizontal.low :] = 1e6
    assert torch.equal(stock(logits, 1024, size), stock(padded, 1024, size))
    assert ours.vertical.tokens * 16 - 16 <= inside(1024, size)[0] + 2


@pytest.mark.parametrize("size", [(1024, 1024), (700, 1000), (333, 517)])
@pytest.mark.parametrize("side", [TILE, 4 * TILE, 8 * TILE])
def test_a_window_in_its_corner_is_a_mask_of_the_whole_frame(size: tuple[int, int], side: int) -> None:
    """Everything outside the window is ground, and nothing lies beyond the image."""
    ours, low = upsampler(1024, size), 256
    generator = torch.Generator().manual_seed(side)
    places = (low - side) // TILE + 1
    corners = torch.randint(0, places, (6, 2), generator=generator)
    windows = torch.full((6, side, side), -9.0)
    inner = slice(2, side - 2)
    windows[:, inner, inner] += 14 * torch.rand(6, side - 4, side - 4, generator=generator)
    frames = torch.full((6, low, low), -9.0)
    for frame, window, (column, row) in zip(frames, windows, (TILE * corners).tolist(), strict=True):
        frame[row : row + side, column : column + side] = window
    whole = cut(ours, frames, -1.0)
    found = ours.tiles(windows, 0.0, -1.0, corners)
    for expected, measured in zip(
        ours.measure(whole, 6, 1.0, BUDGET), ours.measure(found, 6, 1.0, BUDGET), strict=True
    ):
        torch.testing.assert_close(measured, expected, equal_nan=True)
    areas = [torch.zeros(6, dtype=torch.long) for _ in range(2)]
    for area, tiles in zip(areas, (whole, found), strict=True):
        area.index_add_(0, tiles.mask, (ours.pixels(tiles) > 0).sum((1, 2)))
    assert torch.equal(*areas)
    assert areas[0].sum() > 0
