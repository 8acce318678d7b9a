from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import batched_mask_to_box
from torch import Tensor

from grain_handler.upsampling import Upsampler, Windows
from tests.unit.handler.logits import ROUNDING, inside, masks, stock, upsampler

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


def cut(ours: Upsampler, logits: Tensor, lowest: float) -> list[Windows]:
    return list(ours.windows(logits[:, : ours.vertical.low, : ours.horizontal.low], lowest))


def assert_same(logits: Tensor, frame: int, size: tuple[int, int], offset: float) -> None:
    ours, pixels = upsampler(frame, size), stock(logits, frame, size)
    groups = cut(ours, logits, -offset)
    assert sorted(torch.cat([windows.index for windows in groups]).tolist()) == list(range(len(logits)))
    for windows in groups:
        assert_pixels(windows, ours.pixels(windows), pixels, -offset)
        assert_measures(*ours.measure(windows, offset, slice(0, len(windows))), pixels[windows.index], offset)


def assert_pixels(windows: Windows, found: Tensor, pixels: Tensor, lowest: float) -> None:
    """Inside a window all is as in stock; outside nothing of stock's exceeds the threshold."""
    for i, mask in enumerate(windows.index.tolist()):
        row, column, rows, columns = (int(n[i]) for n in (windows.row, windows.column, windows.rows, windows.columns))
        expected = pixels[mask].clone()
        there = expected[row : row + rows, column : column + columns]
        torch.testing.assert_close(found[i, :rows, :columns], there, rtol=0, atol=ROUNDING)
        assert found[i].count_nonzero() == found[i, :rows, :columns].count_nonzero()
        there.fill_(lowest)
        assert expected.max() <= lowest + ROUNDING


def assert_measures(stability: Tensor, boxes: Tensor, pixels: Tensor, offset: float) -> None:
    """Pixels within rounding of a threshold may fall on either side of it."""

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


def test_a_mask_without_pixels() -> None:
    ours = upsampler(256, (100, 120))
    (windows,) = cut(ours, torch.full((2, 64, 64), -5.0), -1.0)
    assert (windows.rows.tolist(), windows.columns.tolist(), windows.pixels) == ([0, 0], [0, 0], 1)
    stability, boxes = ours.measure(windows, 1.0, slice(0, 2))
    assert stability.isnan().all()
    assert boxes.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]


def test_no_mask_has_no_windows() -> None:
    assert cut(upsampler(256, (100, 120)), torch.zeros(0, 64, 64), -1.0) == []


def test_small_masks_have_small_windows() -> None:
    logits = torch.full((3, 256, 256), -5.0)
    logits[0, 5:9, 7:20] = 1
    logits[1, 250:, 250:] = 1
    logits[2, :, 100:160] = 1
    sizes: dict[int, tuple[int, ...]] = {}
    for windows in cut(upsampler(1024, (1024, 1024)), logits, -1.0):
        sizes |= dict.fromkeys(windows.index.tolist(), tuple(windows.logits.shape[1:]))
    assert sizes == {0: (16, 16), 1: (16, 16), 2: (256, 64)}


def test_measured_in_parts_or_at_once() -> None:
    ours = upsampler(256, (150, 256))
    for windows in cut(ours, masks(2, 64), -1.0):
        whole = ours.measure(windows, 1.0, slice(0, len(windows)))
        parts = [ours.measure(windows, 1.0, slice(i, i + 1)) for i in range(len(windows))]
        for at_once, one_by_one in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(at_once.nan_to_num(-1), torch.cat(one_by_one).nan_to_num(-1))


def test_masks_cover_their_pixels() -> None:
    ours, logits = upsampler(256, (150, 256)), masks(3, 64)
    height, width = ours.vertical.low, ours.horizontal.low
    for windows in cut(ours, logits, -1.0):
        covered = torch.zeros(height, width, dtype=torch.bool)
        windows.cover(covered)
        assert torch.equal(covered, (logits[windows.index, :height, :width] > 0).any(0))


@pytest.mark.parametrize("size", [(1, 1), (5, 1024), (1024, 600), (700, 700)])
def test_only_tokens_within_the_image_are_needed(size: tuple[int, int]) -> None:
    """What lies in the frame's padding has no part in any pixel."""
    ours, logits = upsampler(1024, size), masks(4, 256)
    padded = logits.clone()
    padded[:, ours.vertical.low :] = padded[:, :, ours.horizontal.low :] = 1e6
    assert torch.equal(stock(logits, 1024, size), stock(padded, 1024, size))
    assert ours.vertical.tokens * 16 - 16 <= inside(1024, size)[0] + 2
