"""Prompts at seeds, with a decoder and an encoder that know the grains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.draw import disk
from torch import Tensor

from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import LOW_PX, Crop, Framing, crops_of
from grain_handler.sam.mask_decoder import PromptDecoder
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import Budget
from grain_handler.sam.seed_prompter import SeedPrompter, worth_a_look
from grain_handler.sam.seeds import Votes
from tests.unit.handler.sams import trained
from tests.unit.handler.seedmaps import perfect

SIDE, TOKENS = 1024, 64
(WHOLE,) = crops_of(SIDE, SIDE, 0, 0.0)


@dataclass
class Image:
    """A stand-in for the image's tokens: all, or one window for each prompt (`cells`, P × n)."""

    tokens: Tensor = field(default_factory=lambda: torch.zeros(1))
    cells: Tensor | None = None

    def windows(self, cells: Tensor) -> Image:
        return Image(cells=cells)


@dataclass
class Oracle:
    """A decoder that answers each prompt with the grain there, as far as the window shows it.

    Attributes:
        labels: label map of the frame.
        hidden: grains that give no mask at their first prompt.
        asked: grain and side of the window, tokens, of each prompt.
    """

    labels: NDArray[np.int32]
    hidden: Collection[int] = ()
    asked: list[tuple[int, int]] = field(default_factory=list)
    bytes_per_prompt = 1000

    def prepare(self, _embedding: Tensor) -> Image:
        return Image()

    def points(self, points: Tensor) -> Tensor:
        return points

    def decode(self, image: Image, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = TOKENS if image.cells is None else math.isqrt(image.cells.shape[1])
        first = torch.zeros(len(prompts)).long() if image.cells is None else image.cells[:, 0]
        iou, masks = torch.zeros(len(prompts), 3), torch.full((len(prompts), 3, 4 * side, 4 * side), -9.0)
        low = torch.from_numpy(self.labels[LOW_PX // 2 :: LOW_PX, LOW_PX // 2 :: LOW_PX].copy())
        places = prompts.round().long().clamp(0, SIDE - 1).tolist()
        for i, ((x, y), corner) in enumerate(zip(places, first.tolist(), strict=True)):
            label = int(self.labels[y, x])
            before = [grain for grain, _ in self.asked]
            self.asked.append((label, side))
            if label == 0 or (label in self.hidden and label not in before):
                continue
            row, column = (4 * place for place in divmod(corner, TOKENS))
            seen = low[row : row + 4 * side, column : column + 4 * side]
            masks[i, 1], iou[i, 1] = torch.where(seen == label, 9.0, -9.0), 0.95
        return iou, masks.flatten(2), masks

    def logits(self, _tokens: Tensor, masks: Tensor, rows: int, columns: int) -> Tensor:
        return masks[:, :, : 4 * rows, : 4 * columns]


def ask(
    labels: NDArray[np.int32], hidden: Collection[int] = (), memory: int = 64, crop: Crop = WHOLE
) -> tuple[Oracle, Candidates]:
    oracle = Oracle(labels, hidden)
    settings = MaskSettings(pred_iou_thresh=0.5, stability_score_thresh=0.5, points="seeds")
    framing, budget = Framing(trained()), Budget(torch.device("cpu"), memory)
    prompter = SeedPrompter(cast(PromptDecoder, oracle), framing, budget, settings)
    return oracle, prompter.ask(crop, torch.zeros(1), prompter.votes(crop, perfect(labels)))


def placed(*boxes: tuple[int, int, int, int]) -> NDArray[np.int32]:
    """Draws rectangular grains: left, top, right, bottom, px."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number, (left, top, right, bottom) in enumerate(boxes, start=1):
        labels[top:bottom, left:right] = number
    return labels


def grid(size: int, count: int) -> list[tuple[int, int, int, int]]:
    """Draws `count` × `count` squares of `size` px with half as much ground between them."""
    starts = [size // 2 + i * (size + size // 2) for i in range(count)]
    return [(x, y, x + size, y + size) for y in starts for x in starts]


def found_boxes(found: Candidates) -> set[tuple[int, ...]]:
    """Returns left, top, right, bottom of the masks, to within a low-resolution px; right and bottom are exclusive."""
    edges = found.boxes + torch.tensor([0, 0, 1, 1])
    return {tuple(edge) for edge in (LOW_PX * torch.round(edges / LOW_PX)).long().tolist()}


@pytest.mark.parametrize("memory", [1, 64])
@pytest.mark.parametrize(("size", "count"), [(32, 8), (64, 6), (160, 3)])
def test_each_grain_is_asked_once_and_in_a_window(size: int, count: int, memory: int) -> None:
    boxes = grid(size, count)
    oracle, found = ask(placed(*boxes), memory=memory)
    assert sorted(label for label, _ in oracle.asked) == list(range(1, count**2 + 1))
    assert max(side for _, side in oracle.asked) < TOKENS
    assert found_boxes(found) == set(boxes)


def test_a_mask_that_its_window_cuts_is_asked_again_in_the_next_larger_one() -> None:
    bar, square = (160, 400, 864, 424), (480, 600, 544, 664)
    oracle, found = ask(placed(bar, square))
    sides = [side for label, side in oracle.asked if label == 1]
    assert len(sides) > 1, "the first window is no wider than the bar"
    assert sides == sorted(set(sides))
    assert sides[-1] * 16 >= 704
    assert len([1 for label, _ in oracle.asked if label == 2]) == 1
    assert found_boxes(found) == {bar, square}, "whole, and once"


def test_the_frame_cuts_no_mask() -> None:
    boxes = [(0, 0, 64, 64), (960, 0, 1024, 64), (0, 960, 64, 1024), (960, 960, 1024, 1024)]
    oracle, found = ask(placed(*boxes))
    assert len(oracle.asked) == 4
    assert found_boxes(found) == set(boxes)


def test_a_grain_that_was_missed_is_asked_again() -> None:
    boxes = grid(64, 6)
    oracle, found = ask(placed(*boxes), hidden=(8, 21))
    asked = Counter(label for label, _ in oracle.asked)
    assert {label for label, times in asked.items() if times == 2} == {8, 21}
    assert max(asked.values()) == 2
    assert found_boxes(found) == set(boxes)


def test_a_grain_whose_centroid_is_anothers_is_asked_in_itself() -> None:
    """SAM is prompted at the eye of a ring first, then at the ring where the eye does not cover it."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[disk((500, 500), 100)] = 1
    labels[disk((500, 500), 60)] = 2
    oracle, found = ask(labels)
    assert {label for label, _ in oracle.asked} == {1, 2}
    assert found_boxes(found) >= {(440, 440, 560, 560), (400, 400, 600, 600)}


def test_where_nothing_is_nothing_is_asked() -> None:
    oracle, found = ask(placed())
    assert oracle.asked == []
    assert len(found) == 0


def test_an_enlarged_crop_is_asked_for_small_grains_only() -> None:
    boxes = [(100, 100, 164, 164), (400, 400, 560, 560)]
    part = Crop((0, 0, SIDE, SIDE), 1, WHOLE.image)
    oracle, _ = ask(placed(*boxes), crop=part)
    assert {label for label, _ in oracle.asked} == {1}
    oracle, _ = ask(placed(*boxes))
    assert {label for label, _ in oracle.asked} == {1, 2}


OVERLAP = 512 / 1500


def seen(crop: Crop, labels: NDArray[np.int32]) -> tuple[Crop, Votes]:
    """Makes a crop with the votes of a perfect encoder; the labels fill its frame."""
    framing, settings = Framing(trained()), MaskSettings(points="seeds")
    prompter = SeedPrompter(cast(PromptDecoder, Oracle(labels)), framing, Budget(torch.device("cpu"), 64), settings)
    return crop, prompter.votes(crop, perfect(labels))


SMALL = [(x, y, x + 16, y + 16) for y in range(40, 240, 24) for x in range(40, 240, 24)]
TINY = [(x, y, x + 10, y + 10) for y in range(40, 240, 16) for x in range(40, 240, 16)]
LARGE = [(x, y, x + 200, y + 200) for x, y in ((700, 100), (100, 700), (700, 700))]


def test_only_a_crop_with_small_grains_is_enlarged() -> None:
    crops = crops_of(SIDE, SIDE, 1, OVERLAP)
    some, none = seen(WHOLE, placed(*SMALL, *LARGE)), seen(WHOLE, placed(*LARGE))
    assert [crop.box[:2] for crop in crops if worth_a_look(crop, [some])] == [(0, 0), (0, 0)], "whole, and a corner"
    assert [crop.layer for crop in crops if worth_a_look(crop, [none])] == [0]


def test_a_crop_is_enlarged_again_where_grains_are_small_in_itself() -> None:
    """Grains that only the whole image or other crops show do not count."""
    crops = crops_of(SIDE, SIDE, 2, OVERLAP)
    first, last = [crop for crop in crops if crop.layer == 1][0::3]
    whole = seen(WHOLE, placed(*SMALL, *LARGE))
    deeper = [crop for crop in crops if crop.layer == 2]
    for wide in (LARGE, SMALL):
        assert not any(worth_a_look(crop, [whole, seen(first, placed(*wide))]) for crop in deeper)
    for corner, enlarged in ((first, (0, 0)), (last, (426, 426))):
        chosen = [crop for crop in deeper if worth_a_look(crop, [whole, seen(corner, placed(*TINY, *LARGE))])]
        assert [crop.box[:2] for crop in chosen] == [enlarged]
