"""Seeds → the masks of one crop that pass the filters.

Each seed is asked in a window of the embedding a few grains wide, which is a sixteenth of the work of the whole frame.
A mask that its window cuts is asked again in a larger one. Where the encoder sees grains and no mask lies, the votes of
what is left are gathered again, and SAM is asked for the box of those cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import record_function

from grain_handler import seeds
from grain_handler.candidates import Candidates
from grain_handler.crops import LOW_PX, Crop, Framing
from grain_handler.decoder import MASKS, ImageTokens, PromptDecoder, WindowTokens
from grain_handler.memory import Budget
from grain_handler.prompting import passing
from grain_handler.seeds import Seeds, Votes
from grain_handler.settings import MaskSettings
from grain_handler.upsampling import TILE, Tiles, Upsampler

FRAME = 1024
"""Side of the frame, px."""

TOKEN = 16
"""Side of a token, px of the frame."""

WINDOWS = (16, 32, 64)
"""Sides of windows, tokens; multiples of a tile's. The last is SAM's whole frame."""

WINDOW_GRAINS = 2.4
"""A window is at least this many diameters wide: then a grain three times as long as wide fits."""

COVERED = 0.5
"""A cell is covered when masks have this share of it."""

SMALL = 40.0
"""Grains narrower than this, px of the frame, are better seen enlarged: they are two or three tokens wide."""

SMALL_GRAINS = 3.0
"""A crop is enlarged when so many small grains are in it."""


def small_grains(votes: Votes, whole: Crop, part: Crop) -> bool:
    """Whether the seeds of the whole image say that a part of it has grains too small to be seen there."""
    # Cells per px of the image: its longer side fills the frame.
    scale = FRAME / max(whole.size)
    left, top, right, bottom = (scale * edge for edge in part.box)
    x, y = votes.centroids.T
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom) & (votes.diameters < SMALL)
    return bool(votes.share[inside].sum() >= SMALL_GRAINS)


@dataclass(frozen=True)
class SeedPrompter:
    """Asks a crop of an image at its seeds.

    Attributes:
        decoder: The model's mask decoder.
        framing: Tells where the image lies in the frame.
        budget: Memory for intermediate results.
        settings: Thresholds.
    """

    decoder: PromptDecoder
    framing: Framing
    budget: Budget
    settings: MaskSettings

    def votes(self, crop: Crop, maps: Tensor) -> Votes:
        """Reads a crop's seed map, `SEED_CHANNELS` × h × w."""
        upsampler = self.framing.upsampler(crop)
        scale = TOKEN // seeds.CODE_STRIDE
        return Votes.read(maps, scale * upsampler.vertical.tokens, scale * upsampler.horizontal.tokens)

    def ask(self, crop: Crop, embedding: Tensor, votes: Votes) -> Candidates:
        """Asks at the seeds of a crop, and once more where grains were missed.

        Args:
            crop: The crop.
            embedding: Of the crop, 1 × C × side × side.
            votes: What shall be found; see `votes`.

        Returns:
            The masks that pass predicted IoU, stability and the crop's edges.
        """
        with record_function("grainserve::decoder"):
            image = self.decoder.prepare(embedding)
        upsampler = self.framing.upsampler(crop)
        first = seeds.find(votes)
        found = self._masks(crop, upsampler, image, first, boxes=False)
        missed = votes.outside(self._covered(found, upsampler, votes.shape))
        found += self._masks(crop, upsampler, image, seeds.find(missed), boxes=True)
        return Candidates.cat(found, embedding.device)

    def _covered(self, masks: Sequence[Candidates], upsampler: Upsampler, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Which cells of votes masks cover; rows × columns."""
        rows, columns = upsampler.vertical, upsampler.horizontal
        frame = torch.zeros(rows.tiles * TILE, columns.tiles * TILE, dtype=torch.bool, device=self.framing.device)
        for some in masks:
            some.tiles.cover(frame)
        cell = seeds.CODE_STRIDE // LOW_PX
        share = F.avg_pool2d(frame[None, None].float(), cell)[0, 0, : shape[0], : shape[1]]
        covered: NDArray[np.bool_] = (share >= COVERED).cpu().numpy()
        return covered

    def _masks(
        self, crop: Crop, upsampler: Upsampler, image: ImageTokens, asked: Seeds, boxes: bool
    ) -> list[Candidates]:
        """Masks of seeds that pass the filters: of their points, or of their boxes."""
        device = image.tokens.device
        points = torch.from_numpy(asked.points).to(device)
        with record_function("grainserve::decoder"):
            if boxes:
                prompts = self.decoder.boxes(torch.from_numpy(asked.boxes).to(device))
            else:
                prompts = self.decoder.points(points)
        least = torch.from_numpy(WINDOW_GRAINS / TOKEN * asked.diameters).to(device)
        left = torch.arange(len(points), device=device)
        found = []
        for side in WINDOWS:
            now = left[(least[left] <= side) | (side == WINDOWS[-1])]
            again = []
            for some in now.split(self._batch(side)) if len(now) else ():
                masks, cut = self._look(crop, upsampler, image, prompts[some], points[some], side)
                found.append(masks)
                again.append(some[cut])
            left = torch.cat([left[least[left] > side], *again])
        return found

    def _batch(self, side: int) -> int:
        """Prompts that are asked at once."""
        tokens = side * side
        share = tokens / WINDOWS[-1] ** 2
        decoding, masks = share * self.decoder.bytes_per_prompt, 2 * 4 * MASKS * tokens * (TOKEN // LOW_PX) ** 2
        return max(1, int(self.budget.bytes // (decoding + masks)))

    def _look(
        self, crop: Crop, upsampler: Upsampler, image: ImageTokens, prompts: Tensor, points: Tensor, side: int
    ) -> tuple[Candidates, Tensor]:
        """Masks of prompts (P × 2 × C) in windows around points (P × 2) that pass the filters and are not cut by their
        window; and which prompts (P, bool) have one that is."""
        whole = WINDOWS[-1]
        step = TILE * LOW_PX // TOKEN
        corners = step * torch.round((points / TOKEN - side / 2) / step).clamp(0, (whole - side) // step).long()
        with record_function("grainserve::decoder"):
            seen: ImageTokens | WindowTokens = image
            if side < whole:
                along = torch.arange(side, device=points.device)
                rows, columns = corners[:, 1, None] + along, corners[:, 0, None] + along
                seen = image.windows((rows[:, :, None] * whole + columns[:, None, :]).flatten(1))
            iou, tokens, keys = self.decoder.decode(seen, prompts)
            keep = iou > self.settings.pred_iou_thresh
            some = keep.any(1)
        with record_function("grainserve::upscaling"):
            logits = self.decoder.logits(tokens[some], keys[some], side, side)[keep[some]]
        mine = torch.nonzero(keep)[:, 0]
        corner = corners[mine]
        cut = self._cut(logits, corner, side)
        logits, corner, scores = logits[~cut], corner[~cut], iou[keep][~cut]
        again = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        again[mine[cut]] = True
        offset = self.settings.stability_score_offset
        with record_function("grainserve::upsampling"):
            tiles: Tiles = upsampler.tiles(logits, self.framing.mask_threshold, -offset, corner // step)
            return passing(crop, upsampler, tiles, scores, self.settings, self.budget), again

    def _cut(self, logits: Tensor, corners: Tensor, side: int) -> Tensor:
        """Which masks (K × 4·side × 4·side logits) reach an edge of their window that is none of the frame; K, bool."""
        over = logits > self.framing.mask_threshold
        end = WINDOWS[-1] - side
        x, y = corners.unbind(1)
        return (
            (over[:, :, 0].any(1) & (x > 0))
            | (over[:, :, -1].any(1) & (x < end))
            | (over[:, 0].any(1) & (y > 0))
            | (over[:, -1].any(1) & (y < end))
        )
