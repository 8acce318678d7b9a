"""Low-resolution logits → pixels of the image, only where there is a mask.

Stock SAM brings every mask to the full frame twice (256 → 1024 px, then to the image), both bilinear, before it
looks at any of it. Bilinear interpolation is linear and separable, so both steps together are one matrix per axis;
and it never exceeds the values it mixes. So the image is dealt into tiles, and a mask's tile whose logits all lie
under the lowest threshold needs no computing: of a grain's mask a few tiles in a hundred remain. They are computed
as one batch of small matrix products, whatever mask they belong to.

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
"""Side of a tile, low-resolution px. Larger tiles hold more that no mask needs, smaller ones overlap more."""

PIXEL_BYTES = 12
"""Of a tile's pixel while it is computed: half a product, the logits, and what is compared with thresholds."""


class Axis:
    """One axis of an image, dealt into tiles; and its interpolation from low-resolution logits to pixels.

    A pixel belongs to the tile that holds the first low-resolution px it is made of.

    Args:
        frame: Side of the frame the model sees, px (1024).
        low: Side of the frame's low-resolution logits, px (256).
        inside: Length of the image within the frame, px; the rest is padding.
        length: Length of the image, px.
        device: Where masks are computed.

    Attributes:
        tokens: Tokens, of 4 low-resolution px each, that the image's pixels are made of; the rest is padding.
        low: The same in low-resolution px.
        tiles: Number of tiles.
        reach: Low-resolution px that a tile's pixels are made of: its own and some of the next tile's.
        first: First pixel of each tile.
        count: Pixels of each tile.
        weights: Interpolation of each tile, tiles × most pixels × reach; zero behind a tile's last pixel.
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
        """Low-resolution px that all tiles together need: some more than there are."""
        return TILE * (self.tiles - 1) + self.reach


def _bilinear(inputs: int, outputs: int) -> NDArray[np.float64]:
    """The matrix (outputs × inputs) of bilinear interpolation along one axis: what it does to the identity.

    Asking torch gives its own weights, rounding included; a logit that is off by 1e-5 can move a pixel.
    """
    identity = torch.eye(inputs)[None]
    return F.interpolate(identity, size=outputs, mode="linear", align_corners=False)[0].T.double().numpy()


@dataclass(frozen=True)
class Tiles:
    """The tiles of K masks that have to be computed, ordered by mask.

    Attributes:
        logits: Low-resolution logits less the mask threshold, B × R × S.
        mask: Which mask each belongs to, B.
        row: Row of tiles, B.
        column: Column of tiles, B.
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
        """The tiles of some of `count` masks (indices without repeats), which take their places there as numbers."""
        place = torch.full((count,), -1, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        mask = place[self.mask]
        order = torch.argsort(mask, stable=True)
        kept = self[order[mask[order] >= 0]]
        return replace(kept, mask=place[kept.mask])

    def cover(self, frame: Tensor) -> None:
        """Marks the masks' low-resolution px in a frame (m × n, bool)."""
        tile, y, x = torch.nonzero(self.logits[:, :TILE, :TILE] > 0, as_tuple=True)
        frame[TILE * self.row[tile] + y, TILE * self.column[tile] + x] = True


class Upsampler:
    """Masks of one crop, from logits to pixels.

    Args:
        frame: Side of the frame the model sees, px.
        low: Side of the frame's low-resolution logits, px.
        inside: (height, width) of the crop within the frame, px.
        size: (height, width) of the crop in the image, px.
        device: Where masks are computed.
    """

    def __init__(
        self, frame: int, low: int, inside: tuple[int, int], size: tuple[int, int], device: torch.device
    ) -> None:
        self.vertical = Axis(frame, low, inside[0], size[0], device)
        self.horizontal = Axis(frame, low, inside[1], size[1], device)

    @property
    def bytes_per_tile(self) -> int:
        """What a tile's intermediate results take."""
        return PIXEL_BYTES * self.vertical.weights.shape[1] * self.horizontal.weights.shape[1]

    def tiles(self, logits: Tensor, threshold: float, lowest: float, corners: Tensor | None = None) -> Tiles:
        """Finds the tiles in which masks can exceed a threshold.

        Args:
            logits: K × m × n, m and n as `Axis.low` says; of windows, their size, a multiple of `TILE`.
            threshold: The mask threshold.
            lowest: The lowest threshold above the mask threshold that will be asked for, ≤ 0.
            corners: Each mask's window's first column and row, K × 2, in tiles; None: masks of the whole frame.

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
        """Interpolates tiles: B × P × Q logits, exactly 0 where a tile has fewer pixels than the largest."""
        down, right = self.vertical.weights[tiles.row], self.horizontal.weights[tiles.column]
        return down @ tiles.logits @ right.transpose(1, 2)

    def measure(self, tiles: Tiles, count: int, offset: float, budget: Budget) -> tuple[Tensor, Tensor]:
        """Stability and box of masks, as stock SAM defines them.

        Args:
            tiles: Where the masks exceed -offset.
            count: Number of masks, K.
            offset: The shift of the threshold, ≥ 0.
            budget: Memory for it.

        Returns:
            Pixels over the raised threshold / pixels over the lowered one (K; NaN where there are none), and
            boxes (K × 4: left, top, right, bottom, inclusive, px of the crop; zeros for an empty mask).
        """
        looked = budget.chunks(len(tiles), self.bytes_per_tile, lambda part: self._look(tiles[part], offset))
        measured = torch.cat([tiles.mask.new_zeros(0, 6), *looked])
        mask = tiles.mask[:, None].expand(-1, 2)
        areas = mask.new_zeros(count, 2).scatter_add_(0, mask, measured[:, :2])
        start = mask.new_full((count, 2), _BEYOND).scatter_reduce_(0, mask, measured[:, 2:4], "amin")
        end = mask.new_full((count, 2), -1).scatter_reduce_(0, mask, measured[:, 4:], "amax")
        return areas[:, 0] / areas[:, 1], torch.cat([start, end], dim=1) * (end >= 0).all(1, keepdim=True)

    def _look(self, tiles: Tiles, offset: float) -> Tensor:
        """Of each tile: pixels over the raised and the lowered threshold, left, top, right, bottom; B × 6."""
        logits = self.pixels(tiles)
        # Behind a tile's last pixel is 0: over a threshold of -offset, and to be taken off.
        pixels = self.vertical.count[tiles.row] * self.horizontal.count[tiles.column]
        beyond = logits[0].numel() - pixels if offset > 0 else 0
        top, bottom = _extent(logits.amax(2) > 0, self.vertical.first[tiles.row])
        left, right = _extent(logits.amax(1) > 0, self.horizontal.first[tiles.column])
        over, under = _count(logits > offset), _count(logits > -offset) - beyond
        return torch.stack([over, under, left, top, right, bottom], dim=1)


_BEYOND = 2**31
"""The first pixel of what has none."""


def _count(over: Tensor) -> Tensor:
    """True pixels of each tile; two narrow sums are ten times as fast as one wide one."""
    return over.sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int64)


def _extent(occupied: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """First and last pixel of each tile's occupied ones (B × n, bool; `first` is their tile's first pixel)."""
    flags = occupied.to(torch.uint8)
    start, end = flags.argmax(1), occupied.shape[1] - 1 - flags.flip(1).argmax(1)
    some = occupied.any(1)
    return torch.where(some, first + start, _BEYOND), torch.where(some, first + end, -1)
