"""Seeds → the masks of one crop that pass the filters.

SAM is asked at each seed, in a window of the embedding that is a few grains wide; the smallest window is a sixteenth of
the whole frame's work. A prompt whose window cuts a mask is asked again in a larger window. Where the encoder predicts
grains and no mask lies, the votes of the uncovered cells are gathered again, and SAM is asked in a cell of each grain.
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
"""Sides of windows, tokens; multiples of a tile's side. A prompt that fits in no window sees the whole frame."""

WINDOW_GRAINS = 2.4
"""Least width of a window, in diameters of the grain: a grain three times as long as wide then fits."""

COVERED = 0.5
"""A cell is covered when masks cover this share of it."""

SMALL = 40.0
"""Grains narrower than this, px of the frame, are seen better when enlarged: they are two or three tokens wide."""

TINY = 16.0
"""Grains of an enlarged crop that are narrower than this, px of its frame, are seen better when enlarged again. Wider
ones gain nothing from the second layer, whose sixteen crops cost more than all else."""

SMALL_GRAINS = 3.0
"""A part of a crop is enlarged if it has at least this many small grains."""

ENLARGED = 96.0
"""An enlarged crop is asked only for grains narrower than this, px of its own frame. Wider grains are found in the
whole frame, which shows what tells a stone from its spots; and a crop's edge cuts fewer narrow grains."""


def small_grains(votes: Votes, crop: Crop, part: Crop) -> bool:
    """Tells whether a part of a crop has many grains that are too small to be seen well in the crop.

    Args:
        votes: votes of the crop's cells.
        crop: the crop.
        part: smaller crop that lies in it.
    """
    scale = FRAME / max(crop.size)  # the crop's longer side fills the frame
    corner = np.array(crop.box[:2])
    (left, top), (right, bottom) = scale * (np.array(part.box[:2]) - corner), scale * (np.array(part.box[2:]) - corner)
    x, y = votes.centroids.T
    small = votes.diameters < (TINY if crop.layer else SMALL)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom) & small
    return bool(votes.share[inside].sum() >= SMALL_GRAINS)


def worth_a_look(crop: Crop, seen: Sequence[tuple[Crop, Votes]]) -> bool:
    """Tells whether a crop is to be asked: it is the whole image, or the layer before shows small grains in it.

    Args:
        crop: the crop.
        seen: crops that were asked already, with their votes.
    """
    wider = ((other, votes) for other, votes in seen if other.layer == crop.layer - 1 and other.contains(crop))
    return crop.layer == 0 or any(small_grains(votes, other, crop) for other, votes in wider)


@dataclass(frozen=True)
class SeedPrompter:
    """A prompter that asks crops of an image at their seeds.

    Attributes:
        decoder: mask decoder of the model.
        framing: placement of crops in the model's frame.
        budget: memory for intermediate results.
        settings: thresholds.
    """

    decoder: PromptDecoder
    framing: Framing
    budget: Budget
    settings: MaskSettings

    def votes(self, crop: Crop, maps: Tensor) -> Votes:
        """Reads the votes of a crop's cells from its seed map.

        Args:
            crop: the crop.
            maps: seed map of the crop, `SEED_CHANNELS` × h × w.
        """
        upsampler = self.framing.upsampler(crop)
        scale = TOKEN // CODE_STRIDE
        return Votes.read(maps, scale * upsampler.vertical.tokens, scale * upsampler.horizontal.tokens)

    def ask(self, crop: Crop, embedding: Tensor, votes: Votes) -> Candidates:
        """Asks at the seeds of a crop, and once more where grains were missed.

        Args:
            crop: the crop.
            embedding: embedding of the crop, 1 × C × side × side.
            votes: votes of the crop's cells, from `votes`.

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
        """Prepares a crop's embedding (1 × C × side × side) for prompts."""
        with record_function("grainserve::decoder"):
            return View(self, crop, self.framing.upsampler(crop), self.decoder.prepare(embedding))

    def wanted(self, crop: Crop, votes: Votes) -> Seeds:
        """Finds the seeds at which a crop is asked; an enlarged crop is asked only for narrow grains."""
        found = seeds.find(votes)
        return found[found.diameters < ENLARGED] if crop.layer else found


@dataclass(frozen=True)
class View:
    """A crop that is being asked.

    Attributes:
        by: prompter that asks.
        crop: the crop.
        upsampler: upsampler of the crop.
        image: image tokens of the crop.
    """

    by: SeedPrompter
    crop: Crop
    upsampler: Upsampler
    image: ImageTokens

    @property
    def whole(self) -> int:
        """Number of tokens along the frame's side."""
        return self.by.framing.side // TOKEN

    def placed(self, numbers: NDArray[np.float32]) -> Tensor:
        """Copies numbers to the model's device."""
        return torch.from_numpy(numbers).to(self.by.framing.device)

    def covered(self, masks: Sequence[Candidates], shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Marks the cells that masks cover.

        Args:
            masks: masks of the crop.
            shape: rows and columns of cells.

        Returns:
            Rows × columns, bool.
        """
        rows, columns = self.upsampler.vertical, self.upsampler.horizontal
        frame = torch.zeros(rows.tiles * TILE, columns.tiles * TILE, dtype=torch.bool, device=self.by.framing.device)
        for some in masks:
            some.tiles.cover(frame)
        cell = CODE_STRIDE // LOW_PX
        share = F.avg_pool2d(frame[None, None].float(), cell)[0, 0, : shape[0], : shape[1]]
        covered: NDArray[np.bool_] = (share >= COVERED).cpu().numpy()
        return covered

    def masks(self, asked: Seeds) -> list[Candidates]:
        """Asks at seeds, and returns the masks that pass the filters."""
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
        """Returns the memory of a prompt's intermediate results in a window of `side` × `side` tokens, bytes."""
        decoding = self.by.decoder.bytes_per_prompt * side**2 // self.whole**2
        return decoding + 2 * 4 * MASKS * (side * TOKEN // LOW_PX) ** 2

    def look(self, prompts: Tensor, points: Tensor, side: int) -> tuple[Candidates, Tensor]:
        """Asks prompts in windows.

        Args:
            prompts: prompt tokens, P × 2 × C.
            points: middles of the windows, P × 2, (x, y) in px of the frame.
            side: side of the windows, tokens.

        Returns:
            The masks that pass the filters and that no window cuts; and the prompts with a mask that their window cuts
            (P, bool).
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
        """Cuts windows out of the image tokens.

        Args:
            corners: first column and row of each window, tokens, P × 2.
            side: side of the windows, tokens.

        Returns:
            The windows; or the whole image, if a window is as large.
        """
        if side == self.whole:
            return self.image
        along = torch.arange(side, device=corners.device)
        rows, columns = corners[:, 1, None] + along, corners[:, 0, None] + along
        return self.image.windows((rows[:, :, None] * self.whole + columns[:, None, :]).flatten(1))

    def cuts(self, logits: Tensor, corners: Tensor, side: int) -> Tensor:
        """Marks the masks that reach an edge of their window inside the frame.

        Args:
            logits: logits of the masks, K × 4·side × 4·side.
            corners: first column and row of each mask's window, tokens, K × 2.
            side: side of the windows, tokens.

        Returns:
            K, bool.
        """
        over = logits > self.by.framing.mask_threshold
        end = self.whole - side
        x, y = corners.unbind(1)
        return (
            (over[:, :, 0].any(1) & (x > 0))
            | (over[:, :, -1].any(1) & (x < end))
            | (over[:, 0].any(1) & (y > 0))
            | (over[:, -1].any(1) & (y < end))
        )
