"""The points that are prompted, with a decoder that knows the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import build_point_grid
from torch import Tensor

from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import Framing, crops_of
from grain_handler.sam.grid_prompter import Prompter
from grain_handler.sam.mask_decoder import PromptDecoder
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import Budget
from tests.unit.handler.sams import random_sam

CPU = torch.device("cpu")
FRAMING = Framing(random_sam(0))
LOW = FRAMING.side // 4

Answer = Callable[[Tensor], tuple[Tensor, Tensor]]


class Oracle:
    """A decoder whose masks (P × 3 × low × low) and predicted IoUs (P × 3) are functions of the points (P × 2)."""

    bytes_per_prompt = 1000

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[float, ...]] = []
        self.most = 0

    def prepare(self, embedding: Tensor) -> None:
        pass

    def points(self, points: Tensor) -> Tensor:
        return points

    def decode(self, _image: None, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.asked += rounded(points)
        self.most = max(self.most, len(points))
        masks, iou = self.answer(points)
        return iou, masks.flatten(2), masks

    def logits(self, _tokens: Tensor, masks: Tensor, rows: int, columns: int) -> Tensor:
        return masks[:, :, : 4 * rows, : 4 * columns]


def blank(points: Tensor) -> tuple[Tensor, Tensor]:
    """Finds nothing anywhere."""
    return torch.full((len(points), 3, LOW, LOW), -9.0), torch.full((len(points), 3), 0.5)


def everything(points: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the whole image everywhere."""
    return torch.full((len(points), 3, LOW, LOW), 9.0), torch.ones(len(points), 3)


def left_half(points: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the left half of the image at points in it; nothing elsewhere."""
    masks, iou = blank(points)
    on_it = points[:, 0] < FRAMING.side / 2
    masks[on_it, 1, :, : LOW // 2] = 9.0
    iou[on_it, 1] = 1.0
    return masks, iou


def ask(
    answer: Answer, grid: NDArray[np.float64], size: tuple[int, int] = (100, 100), memory: int = 64, **options: Any
) -> tuple[Oracle, Candidates]:
    oracle = Oracle(answer)
    settings = MaskSettings(**{"pred_iou_thresh": 0.6, "stability_score_thresh": 0.6} | options)
    prompter = Prompter(cast(PromptDecoder, oracle), FRAMING, Budget(CPU, memory), settings)
    (crop,) = crops_of(*size, 0, 0.0)
    return oracle, prompter.ask(crop, torch.zeros(1), grid)


def in_frame(grid: NDArray[np.float64]) -> list[tuple[float, ...]]:
    return rounded(torch.from_numpy(grid * FRAMING.side))


def rounded(points: Tensor) -> list[tuple[float, ...]]:
    return [tuple(point) for point in points.round(decimals=6).tolist()]


def test_all_points_are_asked_in_the_grids_order() -> None:
    grid = build_point_grid(6)
    oracle, found = ask(everything, grid, points_per_batch=5)
    assert oracle.asked == in_frame(grid)
    assert oracle.most == 5
    assert len(found) == 3 * 36


@pytest.mark.parametrize("side", [1, 2, 3, 8, 9])
def test_adaptive_points_are_all_asked_where_nothing_is_found(side: int) -> None:
    grid = build_point_grid(side)
    oracle, found = ask(blank, grid, points="adaptive")
    assert sorted(oracle.asked) == sorted(in_frame(grid))
    assert len(found) == 0


def test_adaptive_points_pass_over_what_is_found() -> None:
    grid = build_point_grid(16)
    oracle, found = ask(left_half, grid, points="adaptive")
    asked = set(oracle.asked)
    assert len(asked) == len(oracle.asked)
    assert asked < set(in_frame(grid))
    right = {point for point in in_frame(grid) if point[0] > FRAMING.side / 2}
    assert asked >= right, "nothing was found there"
    assert len(asked - right) == len(found) == 8, "of every fourth point, those on the left"


def test_adaptive_points_may_be_done_after_the_first_pass() -> None:
    oracle, found = ask(everything, build_point_grid(8), points="adaptive")
    assert len(oracle.asked) == 4
    assert len(found) == 12


def test_poor_masks_do_not_keep_finer_points_away() -> None:
    def poor(points: Tensor) -> tuple[Tensor, Tensor]:
        masks, iou = everything(points)
        return masks, 0.62 * iou

    oracle, found = ask(poor, build_point_grid(8), points="adaptive")
    assert len(oracle.asked) == 64
    assert len(found) == 3 * 64


@pytest.mark.parametrize("size", [(100, 100), (100, 37), (3, 100)])
def test_points_at_the_very_edge_of_the_image(size: tuple[int, int]) -> None:
    edge = np.array([[x, y] for y in (0.0, 0.3, 0.6, 1.0) for x in (0.0, 0.3, 0.6, 1.0)])
    oracle, _ = ask(blank, edge, size, points="adaptive")
    assert len(oracle.asked) == 16


def test_masks_are_numbered_as_stock_orders_them() -> None:
    """Masks of several batches and memory chunks are ordered by point, then by number."""

    def squares(points: Tensor) -> tuple[Tensor, Tensor]:
        masks, iou = blank(points)
        for i, (x, y) in enumerate((points / 4).long().tolist()):
            for k in range(3):
                masks[i, k, max(0, y - 4 * k) : y + 1, max(0, x - 8 * k) : x + 1] = 9.0
                iou[i, k] = 0.7 + 0.001 * (LOW * y + x) / LOW + 0.01 * k
        return masks, iou

    grid = build_point_grid(9)
    _, found = ask(squares, grid, points_per_batch=7, memory=1, stability_score_thresh=0.0)
    expected = squares(torch.tensor(in_frame(grid)))[1].flatten()
    assert torch.equal(found.iou, expected)
    assert found.tiles.mask.tolist() == sorted(found.tiles.mask.tolist())
