"""Overlapping masks → one non-overlapping label map.

SAM answers each point on its own, so a grain comes several times, in parts, and together with its neighbours. The steps
are those of the team's measurement notes: clean each mask, drop near-copies, settle what contains what, paint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from grain_handler.masks import Mask, crop_to_content

DUPLICATE_IOU = 0.8
"""Masks whose IoU is over this are one grain. Box NMS misses such pairs if a speck widens a box."""

CONTAINED = 0.85
"""A mask is contained in another if this share of its pixels is."""

CLUSTER_COVER = 0.7
"""A mask looks like a cluster of grains if the masks that it contains cover this share of it."""

TIE = 0.05
"""How much better a cluster must score than its grains, or a part than its grain, to stay; otherwise geometry decides.
A part that stays is painted first, and its grain keeps what is left."""

KEPT_SHARE = 0.5
"""A mask that keeps less than this share of itself when painted is not a grain of its own."""


@dataclass(frozen=True)
class LabelMap:
    """A frame in which each pixel belongs to one grain or none.

    Attributes:
        labels: H × W, int32; 0 is no grain, label n is `grains[n - 1]`.
        grains: masks of the grains as painted, in reading order of their first pixels.
    """

    labels: NDArray[np.int32]
    grains: list[Mask]


def label_map(masks: Sequence[Mask], height: int, width: int, min_area: int, max_area_fraction: float) -> LabelMap:
    """Decides which pixels belong to which grain.

    Args:
        masks: SAM's masks, which may overlap.
        height: height of the frame, px.
        width: width of the frame, px.
        min_area: smallest grain kept, px.
        max_area_fraction: largest grain kept, share of the frame.

    Returns:
        The label map.
    """
    largest = max_area_fraction * height * width
    cleaned = [clean(mask) for mask in masks]
    sized = [mask for mask in cleaned if max(1, min_area) <= mask.area <= largest]
    ranked = sorted(sized, key=lambda mask: -mask.score)
    settled = _settle_containment(_drop_duplicates(ranked))
    as_found = {id(mask): found for mask, found in zip(cleaned, masks, strict=True)}
    return _paint([(mask, as_found[id(mask)]) for mask in settled], height, width, max(1, min_area))


def clean(mask: Mask) -> Mask:
    """Keeps a mask's largest 4-connected piece and fills its holes; counts the filled pixels in `hole_area`."""
    pieces, count = ndimage.label(mask.patch)
    if count == 0:
        return mask
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    x, y, patch = crop_to_content(largest)
    filled = ndimage.binary_fill_holes(patch)
    holes = int(np.count_nonzero(filled) - np.count_nonzero(patch))
    return replace(mask, x=mask.x + x, y=mask.y + y, patch=filled, hole_area=holes)


def _drop_duplicates(ranked: list[Mask]) -> list[Mask]:
    """Keeps a mask only if no better one agrees with it; `ranked` is best first."""
    kept: list[Mask] = []
    areas: list[int] = []
    for mask in ranked:
        area = mask.area
        for other, other_area in zip(kept, areas, strict=True):
            # Areas bound the IoU, so most pairs need no pixel.
            if min(area, other_area) <= DUPLICATE_IOU * max(area, other_area):
                continue
            both = mask.intersection(other)
            if both > DUPLICATE_IOU * (area + other_area - both):
                break
        else:
            kept.append(mask)
            areas.append(area)
    return kept


def _settle_containment(ranked: list[Mask]) -> list[Mask]:
    """Drops clusters in favour of their grains, and parts in favour of their grain, unless `TIE` keeps them."""
    by_size = sorted(ranked, key=lambda mask: -mask.area)
    areas = [mask.area for mask in by_size]
    dropped: set[int] = set()
    for i, parent in enumerate(by_size):
        if i in dropped:
            continue
        children = [
            j
            for j in range(i + 1, len(by_size))
            if j not in dropped and parent.intersection(by_size[j]) >= CONTAINED * areas[j]
        ]
        inside = [by_size[j] for j in children]
        if len(children) >= 2 and _cover(parent, inside) >= CLUSTER_COVER * areas[i]:
            score = np.average([mask.score for mask in inside], weights=[areas[j] for j in children])
            if parent.score <= score + TIE:
                dropped.add(i)
                continue
        dropped.update(j for j in children if by_size[j].score <= parent.score + TIE)
    survivors = {id(mask) for i, mask in enumerate(by_size) if i not in dropped}
    return [mask for mask in ranked if id(mask) in survivors]


def _cover(parent: Mask, children: list[Mask]) -> int:
    """Counts the pixels of the parent that lie in at least one child."""
    height = max(mask.y + mask.patch.shape[0] for mask in (parent, *children))
    width = max(mask.x + mask.patch.shape[1] for mask in (parent, *children))
    union = np.zeros((height, width), bool)
    for child in children:
        union[child.window()] |= child.patch
    return int(np.count_nonzero(union[parent.window()] & parent.patch))


def _paint(ranked: list[tuple[Mask, Mask]], height: int, width: int, min_area: int) -> LabelMap:
    """Gives each pixel to the best mask that claims it.

    Args:
        ranked: pairs of a cleaned mask and the mask that SAM found, best first.
        height: height of the frame, px.
        width: width of the frame, px.
        min_area: least area of a grain, px.
    """
    taken = np.zeros((height, width), bool)
    painted: list[Mask] = []
    for mask, found in ranked:
        free = replace(mask, patch=mask.patch & ~taken[mask.window()])
        grain = clean(free)
        # Filling must not swallow a better grain that lies inside.
        grain = replace(grain, patch=grain.patch & ~taken[grain.window()])
        if grain.area < min_area or grain.area < KEPT_SHARE * mask.area:
            continue
        taken[grain.window()] |= grain.patch
        painted.append(replace(grain, hole_area=grain.area - grain.intersection(found)))
    painted.sort(key=lambda mask: (mask.y, mask.x + int(np.argmax(mask.patch[0]))))
    labels = np.zeros((height, width), np.int32)
    for number, mask in enumerate(painted, start=1):
        labels[mask.window()][mask.patch] = number
    return LabelMap(labels, painted)
