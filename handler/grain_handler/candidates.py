"""Masks of one crop that passed the filters; their pixels are computed only for those that survive the NMS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grain_handler.masks import Mask, crop_to_content
from grain_handler.memory import Budget
from grain_handler.upsampling import Upsampler, Windows

PIXEL_BYTES = 12
"""Of a window while it is interpolated: half a product, the logits, and what is compared with thresholds."""


@dataclass(frozen=True)
class Scored:
    """Windows of one size with what is known of their masks.

    Attributes:
        windows: B masks at low resolution.
        order: Position of each among the masks of the crop, as stock SAM orders them; B.
        iou: Predicted IoU, B.
        stability: Stability score, B.
        boxes: Left, top, right, bottom, inclusive, px of the crop; B × 4.
    """

    windows: Windows
    order: Tensor
    iou: Tensor
    stability: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class Candidates:
    """K masks of one crop.

    Attributes:
        windows: Masks at low resolution, grouped by size.
        place: For each mask its group and its row there, K × 2.
        iou: Predicted IoU, K.
        stability: Stability score, K.
        boxes: Left, top, right, bottom, inclusive, px of the crop; K × 4.
    """

    windows: Sequence[Windows]
    place: Tensor
    iou: Tensor
    stability: Tensor
    boxes: Tensor

    @classmethod
    def collect(cls, scored: Sequence[Scored], device: torch.device) -> Candidates:
        """Joins what the batches of a crop left, in stock's order."""
        by_size: defaultdict[torch.Size, list[Scored]] = defaultdict(list)
        for part in scored:
            by_size[part.windows.logits.shape[1:]].append(part)
        groups = list(by_size.values())
        parts = [part for group in groups for part in group]
        if not parts:
            none = torch.zeros(0, device=device)
            return cls([], torch.zeros(0, 2, dtype=torch.long, device=device), none, none, none.view(0, 4).long())
        order = torch.argsort(torch.cat([part.order for part in parts]))
        sizes = [sum(len(part.windows) for part in group) for group in groups]
        place = [torch.stack([torch.full((n,), i), torch.arange(n)], dim=1) for i, n in enumerate(sizes)]
        return cls(
            [Windows.cat([part.windows for part in group]) for group in groups],
            torch.cat(place).to(device)[order],
            torch.cat([part.iou for part in parts])[order],
            torch.cat([part.stability for part in parts])[order],
            torch.cat([part.boxes for part in parts])[order],
        )

    def __len__(self) -> int:
        return len(self.iou)

    def __getitem__(self, chosen: Tensor) -> Candidates:
        picked = {name: getattr(self, name)[chosen] for name in ("place", "iou", "stability", "boxes")}
        return replace(self, **picked)

    def render(self, upsampler: Upsampler, budget: Budget, left: int, top: int) -> list[Mask]:
        """Computes the masks' pixels.

        Args:
            upsampler: The crop's.
            budget: Memory for it.
            left: Of the crop in the image, px.
            top: Of the crop in the image, px.

        Returns:
            The masks, in the image, in the candidates' order.
        """
        masks: list[Mask | None] = [None] * len(self)
        iou, stability = self.iou.tolist(), self.stability.tolist()
        for number, group in enumerate(self.windows):
            mine = torch.nonzero(self.place[:, 0] == number)[:, 0]
            windows = group[self.place[mine, 1]]

            def pixels(part: slice, windows: Windows = windows) -> Tensor:
                return (upsampler.pixels(windows[part]) > 0).cpu()

            offsets = torch.stack([windows.column, windows.row], dim=1).tolist()
            parts = budget.chunks(len(windows), PIXEL_BYTES * windows.pixels, pixels)
            patches = (patch for part in parts for patch in part.numpy())
            for i, patch, (x, y) in zip(mine.tolist(), patches, offsets, strict=True):
                inner_x, inner_y, content = crop_to_content(patch)
                masks[i] = Mask(left + x + inner_x, top + y + inner_y, content, iou[i], stability[i])
        return [mask for mask in masks if mask is not None]
