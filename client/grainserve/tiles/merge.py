"""Merges what several tiles saw, so that each grain is counted once.

Every tile also sees what lies in its overlaps. So most grains there are seen twice, by chance a little differently.

1. A grain that a tile's inner edge cuts is left to the neighbour that sees the whole of it.
2. Sightings in different tiles that agree (IoU ≥ 0.5) are one grain. Its place is the mean of their places.
3. The tile that owns the place decides: its sighting is the grain, measured in that tile, and what it did not see is no
   grain. To take whatever any tile saw would find more grains in overlaps than elsewhere.
4. Two of the grains left may claim the same pixels because their tiles disagree. The better one stays; the other one
   stays, too, if the claim is small. No mask is trimmed: mask and measurements stay those of one tile, together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from grainserve.results.frame import Box
from grainserve.results.masks import Window
from grainserve.tiles.layout import Layout

SAME = 0.5
"""IoU from which on two sightings are of one grain. Above one half, a grain has one partner at most."""

CLAIM = 0.25
"""Share of a grain's pixels that better grains may claim, too. Outlines drawn twice differ by a pixel: a strip along a
third of the outline is 13 % of a grain of 10 px."""


@dataclass(frozen=True)
class Sighting:
    """A grain as one tile saw it.

    Attributes:
        tile: index of the tile.
        window: mask in the image.
        grain: the grain's entry in the tile's result.
    """

    tile: int
    window: Window
    grain: Mapping[str, Any]

    @cached_property
    def box(self) -> Box:
        """Bounding box in the image, px."""
        height, width = self.window.patch.shape
        return Box(self.window.x, self.window.y, width, height)

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return self.window.area

    @property
    def score(self) -> float:
        """Score of the mask, 0 to 1."""
        return float(self.grain["score"])


@dataclass(frozen=True)
class Merged:
    """The grains of an image.

    Attributes:
        grains: grains in reading order of their first pixels.
        agreement: share of the grains that other tiles saw as well, among those that lay whole in other tiles; None
            where none did.
        shared: number of pixels that two grains claim.
        too_large: extents, px, of pieces that every tile that sees them cuts: their grains are larger than the overlap.
    """

    grains: list[Sighting]
    agreement: float | None
    shared: int
    too_large: list[int]


def merge(layout: Layout, sightings: Sequence[Sighting], *, overlapping: bool = False) -> Merged:
    """Decides which sightings are the grains of the image.

    Args:
        layout: the tiles.
        sightings: sightings of all tiles.
        overlapping: whether grains of one tile may overlap (mode `masks`); then nothing conflicts.
    """
    whole = [each for each in sightings if not layout.cuts(layout.tiles[each.tile], each.box)]
    meetings = list(_meetings(layout, whole))
    grains: list[int] = []
    visible = confirmed = 0
    for group in _agreeing(whole, meetings):
        chosen = _chosen(layout, whole, group)
        if chosen is not None:
            grains.append(chosen)
            if layout.holders(whole[chosen].box) > 1:
                visible += 1
                confirmed += len(group) > 1
    kept, shared = (grains, 0) if overlapping else _without_conflicts(whole, grains, meetings)
    return Merged(
        grains=sorted((whole[index] for index in kept), key=_reading_order),
        agreement=confirmed / visible if visible else None,
        shared=shared,
        too_large=[max(each.box.width, each.box.height) for each in sightings if not layout.holders(each.box)],
    )


def _chosen(layout: Layout, sightings: Sequence[Sighting], group: Sequence[int]) -> int | None:
    """Returns the sighting of a grain that counts; None where the tile that owns its place did not see it."""
    x, y = np.mean([sightings[index].box.centre for index in group], axis=0)
    owner = layout.owner((float(x), float(y)))
    best = max(group, key=lambda index: (sightings[index].tile == owner, sightings[index].score))
    if sightings[best].tile == owner:
        return best
    # A grain larger than the overlap may lie whole in another tile than the one that owns its middle.
    return best if layout.cuts(layout.tiles[owner], sightings[best].box) else None


def _meetings(layout: Layout, sightings: Sequence[Sighting]) -> Iterator[tuple[int, int, int]]:
    """Yields pairs of sightings in different tiles that have pixels in common, and how many."""
    of_tile: dict[int, list[int]] = defaultdict(list)
    for index, each in enumerate(sightings):
        of_tile[each.tile].append(index)
    edges = np.array(
        [(each.box.x, each.box.y, each.box.x + each.box.width, each.box.y + each.box.height) for each in sightings]
    ).reshape(-1, 4)
    tiles = layout.tiles
    for one, other in combinations(sorted(of_tile), 2):
        if not _meet(tiles[one], tiles[other]):
            continue
        a, b = edges[of_tile[one]][:, None], edges[of_tile[other]][None]
        touching = (a[..., :2] < b[..., 2:]).all(axis=-1) & (b[..., :2] < a[..., 2:]).all(axis=-1)
        for i, j in np.argwhere(touching).tolist():
            first, second = of_tile[one][i], of_tile[other][j]
            if common := sightings[first].window.intersection(sightings[second].window):
                yield first, second, common


def _meet(one: Box, other: Box) -> bool:
    return abs(one.x - other.x) < one.width and abs(one.y - other.y) < one.height


def _agreeing(sightings: Sequence[Sighting], meetings: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """Groups the sightings of one grain, a tile at most once in each group; the pairs that agree best come first."""
    pairs = []
    for first, second, common in meetings:
        iou = common / (sightings[first].area + sightings[second].area - common)
        if iou >= SAME:
            pairs.append((-iou, first, second))
    groups = [[index] for index in range(len(sightings))]
    for _, first, second in sorted(pairs):
        one, other = groups[first], groups[second]
        if {sightings[index].tile for index in one}.isdisjoint(sightings[index].tile for index in other):
            one += other
            for index in other:
                groups[index] = one
    return list({id(group): group for group in groups}.values())


def _without_conflicts(
    sightings: Sequence[Sighting], grains: Sequence[int], meetings: Sequence[tuple[int, int, int]]
) -> tuple[list[int], int]:
    """Drops grains if better ones claim more than a small share of them; counts the pixels still claimed twice."""
    rivals: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for first, second, common in meetings:
        rivals[first].append((second, common))
        rivals[second].append((first, common))
    kept: dict[int, None] = {}
    shared = 0
    for index in sorted(grains, key=lambda index: -sightings[index].score):
        claimed = sum(common for rival, common in rivals[index] if rival in kept)
        if claimed <= CLAIM * sightings[index].area:
            kept[index] = None
            shared += claimed
    return list(kept), shared


def _reading_order(sighting: Sighting) -> tuple[int, int]:
    return sighting.window.y, sighting.window.x + int(np.argmax(sighting.window.patch[0]))
