"""Seeds: points where SAM is worth asking, found from the encoder's own prediction.

For each cell the encoder predicts whether the cell lies in a grain, where that grain's centroid is, and how wide the
grain is (see `tiny_encoder.SEED_CHANNELS`). Every cell in a grain votes for the centroid. The votes of one grain meet
in one place, and those of its neighbour in another, even if the grains touch. Places where many votes meet are *seeds*.

A vote counts as much as the cell's share of its grain, times the probability that the cell lies in a grain. So a grain
whose cells are sure and agree gathers 1, whatever its size. This sum is the seed's confidence.

Votes of large grains scatter more than those of small ones. So votes are gathered in levels of grain size, and each
level is blurred in proportion to the width of its grains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from grain_handler.sam.tiny_encoder import CODE_STRIDE, OFFSET_UNIT

FOREGROUND = 0.5
"""A cell votes if its probability to lie in a grain is over this."""

BIN = 4
"""Side of a bin of votes, px of the frame: a quarter of the smallest grain that the embedding resolves."""

LEVELS = (12.0, 24.0, 48.0, 96.0, 192.0)
"""Diameters of the levels, px of the frame. A vote between two levels counts for both, in parts."""

SPREAD = 0.12
"""Standard deviation of the blur, as a share of the level's diameter."""

CONFIDENCE = 0.2
"""Least confidence of a seed."""

SEEDS_AT_ONCE = 128
"""Seeds whose cells are searched at once: their distances to all cells of a frame take 8 MB."""

APART = 0.3
"""Two seeds closer than this share of the smaller diameter are one seed."""


@dataclass(frozen=True)
class Seeds:
    """The k seeds of a crop, most confident first.

    Attributes:
        points: places of the seeds, (x, y) in px of the frame, k × 2.
        confidence: sum of the votes that met at each seed, 1 for a whole grain, k.
        diameters: predicted equivalent diameters of the grains, px of the frame, k.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    diameters: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Seeds:
        return Seeds(self.points[chosen], self.confidence[chosen], self.diameters[chosen])

    def moved_to(self, points: NDArray[np.float32]) -> Seeds:
        """Returns the same seeds at other points, (x, y) in px of the frame, k × 2."""
        return replace(self, points=points)


@dataclass(frozen=True)
class Votes:
    """The votes of the n cells that lie in grains.

    Attributes:
        cells: middles of the cells, (x, y) in px of the frame, n × 2.
        centroids: predicted centroids of the cells' grains, (x, y) in px of the frame, n × 2.
        diameters: predicted equivalent diameters of the cells' grains, px of the frame, n.
        probability: probability of each cell to lie in a grain, n.
        shape: rows and columns of all cells.
    """

    cells: NDArray[np.float32]
    centroids: NDArray[np.float32]
    diameters: NDArray[np.float32]
    probability: NDArray[np.float32]
    shape: tuple[int, int]

    @classmethod
    def read(cls, maps: Tensor, rows: int, columns: int) -> Votes:
        """Reads a seed map.

        Args:
            maps: seed map, `SEED_CHANNELS` × h × w.
            rows: rows of cells that lie in the image, not in the padding.
            columns: columns of cells that lie in the image, not in the padding.
        """
        x, y, foreground, size = maps[:, :rows, :columns].float().cpu().numpy()
        probability = 1 / (1 + np.exp(-foreground))
        voting = probability > FOREGROUND
        at = np.argwhere(voting)[:, ::-1].astype(np.float32) * CODE_STRIDE + CODE_STRIDE / 2
        offsets = OFFSET_UNIT * np.stack([x[voting], y[voting]], axis=1)
        diameters = OFFSET_UNIT * np.exp2(np.clip(size[voting], -3, 5))
        return cls(
            at, (at + offsets).astype(np.float32), diameters.astype(np.float32), probability[voting], voting.shape
        )

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def share(self) -> NDArray[np.float64]:
        """Each cell's share of its grain, times its probability, n; the sum estimates the number of grains."""
        return np.minimum(1.0, 4 / np.pi * (CODE_STRIDE / self.diameters) ** 2) * self.probability

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Votes:
        return Votes(
            self.cells[chosen], self.centroids[chosen], self.diameters[chosen], self.probability[chosen], self.shape
        )

    def outside(self, covered: NDArray[np.bool_]) -> Votes:
        """Returns the votes of the cells that no mask covers.

        Args:
            covered: cells that masks cover, rows × columns, bool.
        """
        at = (self.cells // CODE_STRIDE).astype(int)
        return self[~covered[at[:, 1], at[:, 0]]]


def find(votes: Votes, least: float = CONFIDENCE) -> Seeds:
    """Gathers votes into seeds.

    Args:
        votes: votes of the cells.
        least: least confidence of a seed.

    Returns:
        The seeds, most confident first.
    """
    if len(votes) == 0:
        return _none()
    height, width = (CODE_STRIDE // BIN * n for n in votes.shape)
    share = votes.share
    level = np.interp(np.log2(votes.diameters), np.log2(LEVELS), np.arange(len(LEVELS)))
    peaks = []
    for number, diameter in enumerate(LEVELS):
        weight = share * np.maximum(0, 1 - np.abs(level - number))
        if weight.sum() < least:
            continue
        sigma = max(1.0, SPREAD * diameter / BIN)
        votes_here, sizes = (
            _gathered(votes.centroids, w, height, width, sigma) for w in (weight, weight * np.log2(votes.diameters))
        )
        reach = int(sigma)
        top = F.max_pool2d(torch.from_numpy(votes_here)[None], 2 * reach + 1, 1, reach)[0].numpy()
        rows, columns = np.nonzero((votes_here == top) & (votes_here > least))
        strength = votes_here[rows, columns]
        peaks.append(np.stack([columns, rows, strength, sizes[rows, columns] / strength], axis=1))
    every = np.concatenate([np.zeros((0, 4)), *peaks])
    if len(every) == 0:
        return _none()
    every = every[np.argsort(-every[:, 2], kind="stable")]
    points, diameters = (every[:, :2] * BIN + BIN / 2).astype(np.float32), np.exp2(every[:, 3]).astype(np.float32)
    kept = _apart(points, diameters)
    return Seeds(points[kept], every[kept, 2].astype(np.float32), diameters[kept])


def cells(seeds: Seeds, votes: Votes) -> NDArray[np.float32]:
    """Finds a cell of each seed's grain: one that votes for the seed and lies near it.

    A grain's centroid may lie outside the grain, or under another grain's mask. One of the grain's cells does not.

    Args:
        seeds: the k seeds.
        votes: votes of the cells; at least one if there are seeds.

    Returns:
        The cells' middles, (x, y) in px of the frame, k × 2.
    """
    if len(seeds) == 0:
        return seeds.points
    where, wanted = torch.from_numpy(votes.cells), torch.from_numpy(votes.centroids)
    # A cell's vote counts twice as much as its place: a cell of a neighbouring grain may lie nearer.
    nearest = [
        (torch.cdist(part, where) + 2 * torch.cdist(part, wanted)).argmin(dim=1)
        for part in torch.from_numpy(seeds.points).split(SEEDS_AT_ONCE)
    ]
    chosen: NDArray[np.int64] = torch.cat(nearest).numpy()
    return votes.cells[chosen]


def _none() -> Seeds:
    empty = np.zeros((0, 2), np.float32)
    return Seeds(empty, empty[:, 0], empty[:, 0])


def _gathered(
    centroids: NDArray[np.float32], weight: NDArray[np.float64], height: int, width: int, sigma: float
) -> NDArray[np.float64]:
    """Gathers votes in bins, blurred so that votes in one place keep their sum there; height × width."""
    column, row = (centroids / BIN).astype(int).T
    # The centroid of a grain lies inside the frame even if the frame cuts the grain.
    place = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
    bins = np.bincount(place, weight, height * width).reshape(height, width)
    reach = math.ceil(3 * sigma)
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    map_ = torch.from_numpy(bins)[None, None]
    for kernel, padding in ((bell.view(1, 1, -1, 1), (reach, 0)), (bell.view(1, 1, 1, -1), (0, reach))):
        map_ = F.conv2d(map_, kernel, padding=padding)
    blurred: NDArray[np.float64] = map_[0, 0].numpy()
    return blurred


def _apart(points: NDArray[np.float32], diameters: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the indices of the seeds to keep: the best of those that are one seed; `points` are best first."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = np.argwhere(np.triu(distance < APART * np.minimum(diameters[:, None], diameters[None]), 1))
    alive = np.ones(len(points), bool)
    for better, worse in near.tolist():  # row by row, so the better seed of a pair is settled before the worse
        if alive[better]:
            alive[worse] = False
    return np.flatnonzero(alive)
