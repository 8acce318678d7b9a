"""Low-resolution logits → pixels of the image, only where there is a mask.

Stock SAM resizes every mask in two bilinear steps (256 → 1024 px, then to the image) before it looks at any pixel.
Bilinear interpolation is linear and separable, so both steps together are one matrix per axis. It never exceeds the
values that it mixes. So the image is divided into tiles, and a mask's tile whose logits all lie under the lowest
threshold is not computed: of a grain's mask a few tiles in a hundred remain. The remaining tiles of all masks are
computed as one batch of small matrix products.

Shapes: K masks of m × n low-resolution px, B tiles of R × S low-resolution px and P × Q pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from grain_handler.sam.memory import Budget

TILE = 16
"""Side of a tile, low-resolution px. Larger tiles hold more pixels that no mask needs; smaller ones overlap more."""

PIXEL_BYTES = 12
"""Memory of a tile's pixel while it is computed, bytes: half a product, the logits, and their comparisons with
thresholds."""


class Axis:
    """One axis of an image, divided into tiles, with its interpolation from low-resolution logits to pixels.

    A pixel belongs to the tile that holds the first low-resolution px from which it is interpolated.

    Args:
        frame: side of the frame that the model sees, px (1024).
        low: side of the frame's low-resolution logits, px (256).
        inside: length of the image within the frame, px; the rest is padding.
        length: length of the image, px.
        device: device that computes masks.

    Attributes:
        tokens: number of tokens, of 4 low-resolution px each, from which the image's pixels are interpolated; the other
            tokens are padding.
        low: number of low-resolution px of these tokens.
        tiles: number of tiles.
        reach: number of low-resolution px from which a tile's pixels are interpolated: its own and some of the next
            tile's.
        first: first pixel of each tile.
        count: number of pixels of each tile.
        weights: interpolation of each tile, tiles × most pixels × reach; zero behind a tile's last pixel.
    """

    def __init__(self, frame: int, low: int, inside: int, length: int, device: torch.device) -> None:
        whole = _bilinear(inside, length) @ _bilinear(low, frame)[:inside]
        used = whole > 0
        first, last = used.argmax(axis=1), low - 1 - used[:, ::-1].argmax(axis=1)
        self.tokens = int(last.max()) // 4 + 1
        self.low = 4 * self.tokens
        self.tiles = -(-self.low // TILE)
        self.reach = TILE + int((last - first).max())
        bounds = np.searchsorted(first, TILE * np.arange(self.tiles + 1))
        counts = np.diff(bounds)
        weights = np.zeros((self.tiles, counts.max(), self.reach))
        whole = np.pad(whole, ((0, 0), (0, self.reach)))
        for tile, (start, count) in enumerate(zip(bounds[:-1], counts, strict=True)):
            weights[tile, :count] = whole[start : start + count, TILE * tile : TILE * tile + self.reach]
        self.first = torch.from_numpy(bounds[:-1]).to(device)
        self.count = torch.from_numpy(counts).to(device)
        self.weights = torch.from_numpy(weights).float().to(device)

    @property
    def needed(self) -> int:
        """Number of low-resolution px that all tiles together need, some more than there are."""
        return TILE * (self.tiles - 1) + self.reach


def _bilinear(inputs: int, outputs: int) -> NDArray[np.float64]:
    """Returns the matrix (outputs × inputs) of bilinear interpolation along one axis: the interpolated identity.

    The weights come from torch itself, rounding included: a logit that is off by 1e-5 can move a pixel.
    """
    identity = torch.eye(inputs)[None]
    return F.interpolate(identity, size=outputs, mode="linear", align_corners=False)[0].T.double().numpy()


@dataclass(frozen=True)
class Tiles:
    """The tiles of K masks that have to be computed, ordered by mask.

    Attributes:
        logits: low-resolution logits minus the mask threshold, B × R × S.
        mask: index of each tile's mask, B.
        row: row of each tile, in tiles, B.
        column: column of each tile, in tiles, B.
    """

    logits: Tensor
    mask: Tensor
    row: Tensor
    column: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, chosen: Tensor | slice) -> Tiles:
        return Tiles(self.logits[chosen], self.mask[chosen], self.row[chosen], self.column[chosen])

    @classmethod
    def cat(cls, parts: Sequence[Tiles]) -> Tiles:
        """Joins tiles of different masks."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def of(self, chosen: Tensor, count: int) -> Tiles:
        """Returns the tiles of some masks, numbered by their places in `chosen`.

        Args:
            chosen: indices of the masks, without repeats.
            count: number of all masks.
        """
        place = torch.full((count,), -1, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        mask = place[self.mask]
        order = torch.argsort(mask, stable=True)
        kept = self[order[mask[order] >= 0]]
        return replace(kept, mask=place[kept.mask])

    def cover(self, frame: Tensor) -> None:
        """Marks the masks' low-resolution px in a frame (m × n, bool), which is changed in place."""
        tile, y, x = torch.nonzero(self.logits[:, :TILE, :TILE] > 0, as_tuple=True)
        frame[TILE * self.row[tile] + y, TILE * self.column[tile] + x] = True


class Upsampler:
    """The upsampling of one crop's masks, from logits to pixels.

    Args:
        frame: side of the frame that the model sees, px.
        low: side of the frame's low-resolution logits, px.
        inside: height and width of the crop within the frame, px.
        size: height and width of the crop in the image, px.
        device: device that computes masks.
    """

    def __init__(
        self, frame: int, low: int, inside: tuple[int, int], size: tuple[int, int], device: torch.device
    ) -> None:
        self.vertical = Axis(frame, low, inside[0], size[0], device)
        self.horizontal = Axis(frame, low, inside[1], size[1], device)

    @property
    def bytes_per_tile(self) -> int:
        """Memory of a tile's intermediate results, bytes."""
        return PIXEL_BYTES * self.vertical.weights.shape[1] * self.horizontal.weights.shape[1]

    def tiles(self, logits: Tensor, threshold: float, lowest: float, corners: Tensor | None = None) -> Tiles:
        """Finds the tiles in which masks can exceed a threshold.

        Args:
            logits: logits of the masks, K × m × n. For the whole frame, m and n are the axes' `low`; for windows, the
                window's sides, multiples of `TILE`.
            threshold: mask threshold, logits.
            lowest: lowest threshold that will be asked for, relative to the mask threshold, ≤ 0.
            corners: first column and row of each mask's window, in tiles, K × 2; None for masks of the whole frame.

        Returns:
            The masks' tiles; none for a mask that exceeds the threshold nowhere.
        """
        down, right = self.vertical, self.horizontal
        height, width = logits.shape[-2:]
        if corners is None:
            size = (down.needed, right.needed)
        else:  # beyond a window there is nothing
            size = (height - TILE + down.reach, width - TILE + right.reach)
        padded = logits.new_full((len(logits), *size), lowest)
        torch.sub(logits, threshold, out=padded[:, :height, :width])
        highest = F.max_pool2d(padded[:, None], (down.reach, right.reach), TILE)[:, 0]
        mask, row, column = torch.nonzero(highest > lowest, as_tuple=True)
        every = padded.unfold(1, down.reach, TILE).unfold(2, right.reach, TILE)
        found = Tiles(every[mask, row, column], mask, row, column)
        if corners is None:
            return found
        placed = replace(found, column=column + corners[mask, 0], row=row + corners[mask, 1])
        return placed[(placed.row < down.tiles) & (placed.column < right.tiles)]

    def pixels(self, tiles: Tiles) -> Tensor:
        """Interpolates tiles.

        Args:
            tiles: the B tiles.

        Returns:
            Logits, B × P × Q; exactly 0 where a tile has fewer pixels than the largest one.
        """
        down, right = self.vertical.weights[tiles.row], self.horizontal.weights[tiles.column]
        return down @ tiles.logits @ right.transpose(1, 2)

    def measure(self, tiles: Tiles, count: int, offset: float, budget: Budget) -> tuple[Tensor, Tensor]:
        """Measures the stability and the boxes of masks, as stock SAM defines them.

        Args:
            tiles: tiles in which the masks exceed -offset.
            count: number of masks, K.
            offset: shift of the threshold, logits, ≥ 0.
            budget: memory for intermediate results.

        Returns:
            Stability: pixels over the raised threshold / pixels over the lowered one, K; NaN if there are none. And
            boxes: left, top, right and bottom, inclusive, px of the crop, K × 4; zeros for an empty mask.
        """
        looked = budget.chunks(len(tiles), self.bytes_per_tile, lambda part: self._look(tiles[part], offset))
        measured = torch.cat([tiles.mask.new_zeros(0, 6), *looked])
        mask = tiles.mask[:, None].expand(-1, 2)
        areas = mask.new_zeros(count, 2).scatter_add_(0, mask, measured[:, :2])
        start = mask.new_full((count, 2), _BEYOND).scatter_reduce_(0, mask, measured[:, 2:4], "amin")
        end = mask.new_full((count, 2), -1).scatter_reduce_(0, mask, measured[:, 4:], "amax")
        return areas[:, 0] / areas[:, 1], torch.cat([start, end], dim=1) * (end >= 0).all(1, keepdim=True)

    def _look(self, tiles: Tiles, offset: float) -> Tensor:
        """Measures each tile: pixels over the raised and the lowered threshold, left, top, right, bottom; B × 6."""
        logits = self.pixels(tiles)
        # Behind a tile's last pixel the logits are 0: they exceed -offset, and must not be counted.
        pixels = self.vertical.count[tiles.row] * self.horizontal.count[tiles.column]
        beyond = logits[0].numel() - pixels if offset > 0 else 0
        top, bottom = _extent(logits.amax(2) > 0, self.vertical.first[tiles.row])
        left, right = _extent(logits.amax(1) > 0, self.horizontal.first[tiles.column])
        over, under = _count(logits > offset), _count(logits > -offset) - beyond
        return torch.stack([over, under, left, top, right, bottom], dim=1)


_BEYOND = 2**31
"""First pixel of a tile or mask that has no pixel."""


def _count(over: Tensor) -> Tensor:
    """Counts the True pixels of each tile; two narrow sums are ten times as fast as one wide sum."""
    return over.sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int64)


def _extent(occupied: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the first and the last occupied pixel of each tile along an axis.

    Args:
        occupied: occupied pixels, B × n, bool.
        first: first pixel of each tile, B.
    """
    flags = occupied.to(torch.uint8)
    start, end = flags.argmax(1), occupied.shape[1] - 1 - flags.flip(1).argmax(1)
    some = occupied.any(1)
    return torch.where(some, first + start, _BEYOND), torch.where(some, first + end, -1)
