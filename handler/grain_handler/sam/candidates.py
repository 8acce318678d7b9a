"""Candidates: masks of one crop that passed the filters. Pixels are computed again for those that survive the NMS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grain_handler.masks import Mask, crop_to_content
from grain_handler.sam.memory import Budget
from grain_handler.sam.upsampling import Tiles, Upsampler


@dataclass(frozen=True)
class Candidates:
    """K masks of one crop.

    Attributes:
        tiles: low-resolution tiles of the masks.
        iou: predicted IoU, K.
        stability: stability score, K.
        boxes: left, top, right and bottom, inclusive, px of the crop, K × 4.
    """

    tiles: Tiles
    iou: Tensor
    stability: Tensor
    boxes: Tensor

    @classmethod
    def cat(cls, parts: Sequence[Candidates], device: torch.device) -> Candidates:
        """Joins the masks of several batches.

        Args:
            parts: masks of each batch.
            device: device of the result, if there are no batches.
        """
        if not parts:
            none = torch.zeros(0, device=device)
            return cls(Tiles(none.view(0, 1, 1), *3 * [none.long()]), none, none, none.view(0, 4).long())
        starts = accumulate((len(part) for part in parts), initial=0)
        tiles = [replace(part.tiles, mask=part.tiles.mask + start) for part, start in zip(parts, starts, strict=False)]
        return cls(
            Tiles.cat(tiles),
            torch.cat([part.iou for part in parts]),
            torch.cat([part.stability for part in parts]),
            torch.cat([part.boxes for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.iou)

    def __getitem__(self, chosen: Tensor) -> Candidates:
        """Returns the masks with the given indices, in that order."""
        tiles = self.tiles.of(chosen, len(self))
        return Candidates(tiles, self.iou[chosen], self.stability[chosen], self.boxes[chosen])

    def render(self, upsampler: Upsampler, budget: Budget, left: int, top: int) -> list[Mask]:
        """Computes the masks' pixels.

        Args:
            upsampler: upsampler of the crop.
            budget: memory for intermediate results.
            left: left edge of the crop in the image, px.
            top: top edge of the crop in the image, px.

        Returns:
            The masks, placed in the image, in the candidates' order.
        """
        tiles, down, right = self.tiles, upsampler.vertical, upsampler.horizontal
        parts = budget.chunks(
            len(tiles), upsampler.bytes_per_tile, lambda part: (upsampler.pixels(tiles[part]) > 0).cpu().numpy()
        )
        place = [down.first[tiles.row], down.count[tiles.row], right.first[tiles.column], right.count[tiles.column]]
        pieces = (
            (x, y, pixels[:height, :width])
            for (y, height, x, width), pixels in zip(
                torch.stack(place, dim=1).tolist(), (pixels for part in parts for pixels in part), strict=True
            )
        )
        masks = []
        tiles_of = torch.bincount(tiles.mask, minlength=len(self)).tolist()
        for count, iou, stability in zip(tiles_of, self.iou.tolist(), self.stability.tolist(), strict=True):
            x, y, patch = _assemble(list(islice(pieces, count)))
            masks.append(Mask(left + x, top + y, patch, iou, stability))
        return masks


def _assemble(pieces: Sequence[tuple[int, int, NDArray[np.bool_]]]) -> tuple[int, int, NDArray[np.bool_]]:
    """Joins a mask's tiles (each x, y and patch) to one x, y and patch, cut to the mask's pixels."""
    if not pieces:
        return 0, 0, np.zeros((0, 0), bool)
    left, top = min(x for x, _, _ in pieces), min(y for _, y, _ in pieces)
    right = max(x + patch.shape[1] for x, _, patch in pieces)
    bottom = max(y + patch.shape[0] for _, y, patch in pieces)
    canvas = np.zeros((bottom - top, right - left), bool)
    for x, y, patch in pieces:
        canvas[y - top : y - top + patch.shape[0], x - left : x - left + patch.shape[1]] = patch
    x, y, content = crop_to_content(canvas)
    return left + x, top + y, content
