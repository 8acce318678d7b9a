"""Seeds → the masks of one crop that pass the filters.

Each seed is asked in a window of the embedding a few grains wide, which is a sixteenth of the work of the whole frame.
A mask that its window cuts is asked again in a larger one. Where the encoder sees grains and no mask lies, the votes of
what is left are gathered again, and SAM is asked in one of those cells.
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

from grain_handler.sam import seeds
from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import LOW_PX, Crop, Framing
from grain_handler.sam.grid_prompter import passing
from grain_handler.sam.mask_decoder import MASKS, ImageTokens, PromptDecoder, WindowTokens
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import Budget
from grain_handler.sam.seeds import Seeds, Votes
from grain_handler.sam.tiny_encoder import CODE_STRIDE
from grain_handler.sam.upsampling import TILE, Upsampler

FRAME = 1024
"""Side of the frame, px."""

TOKEN = 16
"""Side of a token, px of the frame."""

WINDOWS = (16, 32)
"""Sides of windows, tokens; multiples of a tile's. What fits in none sees the whole frame."""

WINDOW_GRAINS = 2.4
"""A window is at least this many diameters wide: then a grain three times as long as wide fits."""

COVERED = 0.5
"""A cell is covered when masks have this share of it."""

SMALL = 40.0
"""Grains narrower than this, px of the frame, are better seen enlarged: they are two or three tokens wide."""

TINY = 16.0
"""Grains narrower than this, px of the frame, are better seen enlarged again, where they lie in a crop that is enlarged
already. Wider ones gain nothing from a third look, whose sixteen crops cost more than all else."""

SMALL_GRAINS = 3.0
"""A part of a crop is enlarged when so many small grains are in it."""

ENLARGED = 96.0
"""An enlarged crop is asked for grains narrower than this, px of its own frame. Wider ones are seen in the whole frame,
with all that tells a stone from its spots; and a crop's edge cuts fewer."""


def small_grains(votes: Votes, crop: Crop, part: Crop) -> bool:
    """Tells whether a part of a crop has grains that are too small to be seen well in it, by its seeds."""
    scale = FRAME / max(crop.size)  # the crop's longer side fills the frame
    corner = np.array(crop.box[:2])
    (left, top), (right, bottom) = scale * (np.array(part.box[:2]) - corner), scale * (np.array(part.box[2:]) - corner)
    x, y = votes.centroids.T
    small = votes.diameters < (TINY if crop.layer else SMALL)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom) & small
    return bool(votes.share[inside].sum() >= SMALL_GRAINS)


def worth_a_look(crop: Crop, seen: Sequence[tuple[Crop, Votes]]) -> bool:
    """Tells whether a crop is to be asked: the whole image is, and what the layer before shows too small.

    Args:
        crop: The crop.
        seen: Crops that were asked, and their votes.
    """
    wider = ((other, votes) for other, votes in seen if other.layer == crop.layer - 1 and other.contains(crop))
    return crop.layer == 0 or any(small_grains(votes, other, crop) for other, votes in wider)


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
        scale = TOKEN // CODE_STRIDE
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
        view = self.view(crop, embedding)
        found = view.masks(self.wanted(crop, votes))
        left = votes.outside(view.covered(found, votes.shape))
        missed = self.wanted(crop, left)
        found += view.masks(missed.moved_to(seeds.cells(missed, left)))
        return Candidates.cat(found, embedding.device)

    def view(self, crop: Crop, embedding: Tensor) -> View:
        """Prepares a crop's embedding for prompts."""
        with record_function("grainserve::decoder"):
            return View(self, crop, self.framing.upsampler(crop), self.decoder.prepare(embedding))

    def wanted(self, crop: Crop, votes: Votes) -> Seeds:
        """Finds the seeds that a crop is asked at."""
        found = seeds.find(votes)
        return found[found.diameters < ENLARGED] if crop.layer else found


@dataclass(frozen=True)
class View:
    """A crop that is being asked.

    Attributes:
        by: What asks.
        crop: The crop.
        upsampler: The crop's.
        image: Its tokens.
    """

    by: SeedPrompter
    crop: Crop
    upsampler: Upsampler
    image: ImageTokens

    @property
    def whole(self) -> int:
        """Tokens along the frame's side."""
        return self.by.framing.side // TOKEN

    def placed(self, numbers: NDArray[np.float32]) -> Tensor:
        """Numbers on the model's device."""
        return torch.from_numpy(numbers).to(self.by.framing.device)

    def covered(self, masks: Sequence[Candidates], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Marks the cells of votes that masks cover; rows × columns."""
        rows, columns = self.upsampler.vertical, self.upsampler.horizontal
        frame = torch.zeros(rows.tiles * TILE, columns.tiles * TILE, dtype=torch.bool, device=self.by.framing.device)
        for some in masks:
            some.tiles.cover(frame)
        cell = CODE_STRIDE // LOW_PX
        share = F.avg_pool2d(frame[None, None].float(), cell)[0, 0, : shape[0], : shape[1]]
        covered: NDArray[np.bool_] = (share >= COVERED).cpu().numpy()
        return covered

    def masks(self, asked: Seeds) -> list[Candidates]:
        """Asks at seeds: their masks that pass the filters."""
        points, needed = self.placed(asked.points), self.placed(WINDOW_GRAINS / TOKEN * asked.diameters)
        prompts = self.by.decoder.points(points)
        left = torch.arange(len(points), device=points.device)
        found = []
        for side in (*(side for side in WINDOWS if side < self.whole), self.whole):
            fits = (needed[left] <= side) | (side == self.whole)
            now, later = left[fits], [left[~fits]]

            def look(part: slice, now: Tensor = now, side: int = side) -> tuple[Candidates, Tensor]:
                some = now[part]
                masks, cut = self.look(prompts[some], points[some], side)
                return masks, some[cut]

            for masks, cut in self.by.budget.chunks(len(now), self.bytes_per_prompt(side), look):
                found.append(masks)
                later.append(cut)
            left = torch.cat(later)
        return found

    def bytes_per_prompt(self, side: int) -> int:
        """Bytes of a prompt's intermediate results in a window of `side` tokens."""
        decoding = self.by.decoder.bytes_per_prompt * side**2 // self.whole**2
        return decoding + 2 * 4 * MASKS * (side * TOKEN // LOW_PX) ** 2

    def look(self, prompts: Tensor, points: Tensor, side: int) -> tuple[Candidates, Tensor]:
        """Asks prompts in windows.

        Args:
            prompts: P × 2 × C.
            points: What the windows lie around, P × 2, px of the frame.
            side: Of the windows, tokens.

        Returns:
            The masks that pass the filters and that their window does not cut, and which prompts have one that it
            cuts (P, bool).
        """
        by, step = self.by, TILE * LOW_PX // TOKEN
        last = (self.whole - side) // step
        corners = step * torch.round((points / TOKEN - side / 2) / step).clamp(0, last).long()
        with record_function("grainserve::decoder"):
            iou, tokens, keys = by.decoder.decode(self.seen(corners, side), prompts)
            keep = iou > by.settings.pred_iou_thresh
            some = keep.any(1)
        with record_function("grainserve::upscaling"):
            logits = by.decoder.logits(tokens[some], keys[some], side, side)[keep[some]]
        owner = torch.nonzero(keep)[:, 0]
        corner = corners[owner]
        cut = self.cuts(logits, corner, side)
        again = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        again[owner[cut]] = True
        with record_function("grainserve::upsampling"):
            offset = by.settings.stability_score_offset
            tiles = self.upsampler.tiles(logits[~cut], by.framing.mask_threshold, -offset, corner[~cut] // step)
            return passing(self.crop, self.upsampler, tiles, iou[keep][~cut], by.settings, by.budget), again

    def seen(self, corners: Tensor, side: int) -> ImageTokens | WindowTokens:
        """Cuts the windows at these corners (P × 2: column, row)."""
        if side == self.whole:
            return self.image
        along = torch.arange(side, device=corners.device)
        rows, columns = corners[:, 1, None] + along, corners[:, 0, None] + along
        return self.image.windows((rows[:, :, None] * self.whole + columns[:, None, :]).flatten(1))

    def cuts(self, logits: Tensor, corners: Tensor, side: int) -> Tensor:
        """Marks masks (K × 4·side × 4·side) that reach an edge of their window inside the frame; K, bool."""
        over = logits > self.by.framing.mask_threshold
        end = self.whole - side
        x, y = corners.unbind(1)
        return (
            (over[:, :, 0].any(1) & (x > 0))
            | (over[:, :, -1].any(1) & (x < end))
            | (over[:, 0].any(1) & (y > 0))
            | (over[:, -1].any(1) & (y < end))
        )
