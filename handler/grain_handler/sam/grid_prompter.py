"""Points → the masks of one crop that pass the filters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import record_function

from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import LOW_PX, Crop, Framing
from grain_handler.sam.grid_points import levels
from grain_handler.sam.mask_decoder import MASKS, ImageTokens, PromptDecoder
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import Budget
from grain_handler.sam.upsampling import Tiles, Upsampler

CONFIDENCE = 0.25
"""How far a mask's scores must lie above both thresholds, as a share of the way to 1, for adaptive points to leave out
the pixels that it covers. At 0 every kept mask counts, and poor masks hide too many grains; towards 1 no point is
saved."""


@dataclass(frozen=True)
class Prompter:
    """A prompter that asks crops of an image at the points of a grid.

    Attributes:
        decoder: mask decoder of the model.
        framing: placement of crops in the model's frame.
        budget: memory for intermediate results.
        settings: grid and thresholds.
    """

    decoder: PromptDecoder
    framing: Framing
    budget: Budget
    settings: MaskSettings

    def ask(self, crop: Crop, embedding: Tensor, grid: NDArray[np.float64]) -> Candidates:
        """Asks one crop at all points.

        Args:
            crop: the crop.
            embedding: embedding of the crop, 1 × C × side × side.
            grid: points of the grid, k × 2, (x, y) in 0…1 of the crop.

        Returns:
            The masks that pass predicted IoU, stability and the crop's edges.
        """
        with record_function("grainserve::decoder"):
            image = self.decoder.prepare(embedding)
        upsampler, adaptive = self.framing.upsampler(crop), self.settings.points == "adaptive"
        rows, columns = upsampler.vertical.low, upsampler.horizontal.low
        # Points whose low-resolution masks are held at once: each mask twice, as it is and padded for tiles.
        batch = min(self.settings.points_per_batch, self.budget.chunk(2 * 4 * MASKS * rows * columns))
        covered = torch.zeros(rows, columns, dtype=torch.bool, device=embedding.device)
        passed: list[Candidates] = []
        for level, points in enumerate(levels(grid, adaptive)):
            in_frame = self.framing.points(points, crop)
            if level:  # only adaptive points have a second level
                x, y = (in_frame // LOW_PX).long().unbind(1)
                in_frame = in_frame[~covered[y.clamp(max=rows - 1), x.clamp(max=columns - 1)]]
            for some in in_frame.split(batch) if len(in_frame) else ():  # no points split into one empty batch
                masks = self._masks(crop, upsampler, image, some)
                passed.append(masks)
                if adaptive:
                    masks[self._confident(masks)].tiles.cover(covered)
        return Candidates.cat(passed, embedding.device)

    def _masks(self, crop: Crop, upsampler: Upsampler, image: ImageTokens, points: Tensor) -> Candidates:
        """Returns a batch's masks that pass the filters, in the order of the points."""
        inside = upsampler.vertical.tokens, upsampler.horizontal.tokens
        decode = partial(self._decode, image, points, inside)
        parts = self.budget.chunks(len(points), self.decoder.bytes_per_prompt, decode)
        logits, iou = (torch.cat(column) for column in zip(*parts, strict=True))
        with record_function("grainserve::upsampling"):
            tiles = upsampler.tiles(logits, self.framing.mask_threshold, -self.settings.stability_score_offset)
            return passing(crop, upsampler, tiles, iou, self.settings, self.budget)

    def _decode(
        self, image: ImageTokens, points: Tensor, inside: tuple[int, int], part: slice
    ) -> tuple[Tensor, Tensor]:
        """Returns low-resolution logits and predicted IoU of some points' masks that pass the predicted IoU."""
        threshold = self.settings.pred_iou_thresh
        with record_function("grainserve::decoder"):
            iou, tokens, keys = self.decoder.decode(image, self.decoder.points(points[part]))
            keep = iou > threshold if threshold > 0 else torch.ones_like(iou, dtype=torch.bool)
            some = keep.any(1)
        with record_function("grainserve::upscaling"):
            logits = self.decoder.logits(tokens[some], keys[some], *inside)[keep[some]]
        return logits, iou[keep]

    def _confident(self, masks: Candidates) -> Tensor:
        """Returns the indices of masks so far above both thresholds that no finer point need look for a better one."""
        iou, stability = (
            threshold + CONFIDENCE * (1 - threshold)
            for threshold in (self.settings.pred_iou_thresh, self.settings.stability_score_thresh)
        )
        return torch.nonzero((masks.iou > iou) & (masks.stability >= stability))[:, 0]


def passing(  # noqa: PLR0917 - each is one thing
    crop: Crop, upsampler: Upsampler, tiles: Tiles, iou: Tensor, settings: MaskSettings, budget: Budget
) -> Candidates:
    """Returns a crop's masks that are stable and do not end at an edge of the crop inside the image.

    Args:
        crop: the crop.
        upsampler: upsampler of the crop.
        tiles: low-resolution tiles of the masks.
        iou: predicted IoU of the masks, K.
        settings: thresholds.
        budget: memory for intermediate results.
    """
    stability, boxes = upsampler.measure(tiles, len(iou), settings.stability_score_offset, budget)
    keep = ~crop.cuts(boxes)
    if settings.stability_score_thresh > 0:
        keep &= stability >= settings.stability_score_thresh
    return Candidates(tiles, iou, stability, boxes)[torch.nonzero(keep)[:, 0]]
