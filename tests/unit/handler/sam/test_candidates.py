from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from grain_handler.sam.candidates import Candidates
from grain_handler.sam.memory import Budget
from grain_handler.sam.upsampling import Upsampler
from tests.unit.handler.logits import CPU, masks, stock, upsampler

FRAME, SIZE = 256, (120, 200)


def batch(logits: Tensor, first: int, ours: Upsampler) -> Candidates:
    """Makes the masks of a batch of prompts; their predicted IoU encodes their number, counted from `first`."""
    tiles = ours.tiles(logits[:, : ours.vertical.low, : ours.horizontal.low], 0.0, -1.0)
    stability, boxes = ours.measure(tiles, len(logits), 1.0, Budget(CPU, 64))
    return Candidates(tiles, 1 / (1 + first + torch.arange(len(logits))), stability, boxes)


@pytest.fixture
def found() -> tuple[Candidates, Tensor, Upsampler]:
    """Makes 36 masks from three batches, and their logits."""
    ours, batches = upsampler(FRAME, SIZE), [masks(seed, FRAME // 4) for seed in range(3)]
    parts = [batch(logits, 12 * i, ours) for i, logits in enumerate(batches)]
    return Candidates.cat(parts, CPU), torch.cat(batches), ours


@pytest.mark.parametrize("mib", [1, 64])
def test_rendered_masks_are_stocks_in_stocks_order(found: tuple[Candidates, Tensor, Upsampler], mib: int) -> None:
    candidates, logits, ours = found
    rendered = candidates.render(ours, Budget(CPU, mib), left=7, top=5)
    assert len(rendered) == len(candidates) == len(logits)
    for i, (mask, expected) in enumerate(zip(rendered, stock(logits, FRAME, SIZE) > 0, strict=True)):
        frame = mask.full(SIZE[0] + 5, SIZE[1] + 7)
        assert (frame[5:, 7:] == expected.numpy()).all()
        assert frame.sum() == expected.sum()
        assert mask.predicted_iou == pytest.approx(1 / (1 + i))
        if mask.area:
            x0, y0, x1, y1 = candidates.boxes[i].tolist()
            assert (mask.x - 7, mask.y - 5, *mask.patch.shape) == (x0, y0, y1 - y0 + 1, x1 - x0 + 1)
            assert all(edge.any() for edge in (mask.patch[0], mask.patch[-1], mask.patch[:, 0], mask.patch[:, -1]))


def test_chosen_masks_keep_the_chosen_order(found: tuple[Candidates, Tensor, Upsampler]) -> None:
    candidates, logits, ours = found
    chosen = torch.tensor([30, 4, 17, 6, 29])
    rendered = candidates[chosen].render(ours, Budget(CPU, 64), 0, 0)
    expected = stock(logits, FRAME, SIZE)[chosen] > 0
    assert [mask.predicted_iou for mask in rendered] == pytest.approx((1 / (1 + chosen)).tolist())
    assert all((mask.full(*SIZE) == frame.numpy()).all() for mask, frame in zip(rendered, expected, strict=True))


def test_nothing_passed() -> None:
    candidates = Candidates.cat([], CPU)
    assert len(candidates) == 0
    assert candidates.boxes.shape == (0, 4)
    assert candidates[torch.zeros(0, dtype=torch.long)].render(upsampler(FRAME, SIZE), Budget(CPU, 64), 0, 0) == []


def test_an_empty_mask_is_rendered_empty() -> None:
    ours = upsampler(FRAME, SIZE)
    (mask,) = batch(torch.full((1, 64, 64), -9.0), 0, ours).render(ours, Budget(CPU, 64), 3, 4)
    assert mask.area == 0
    assert np.isnan(mask.stability_score)
