"""Pairs two lists of masks greedily, without SciPy; `against_stock.fidelity` finds the best pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grain_handler.masks import Mask

LEAST_IOU = 0.5


@dataclass(frozen=True)
class Pairs:
    """Masks of two lists, paired one to one, the most similar first.

    Attributes:
        matched: number of pairs; partners have an IoU of at least `LEAST_IOU`.
        mean_iou: mean IoU of the pairs; 1 if there are none.
    """

    matched: int
    mean_iou: float


def pair(first: Sequence[Mask], second: Sequence[Mask]) -> Pairs:
    """Pairs the masks of an image."""
    areas, others = [mask.area for mask in first], [mask.area for mask in second]
    alike = []
    for i, mask in enumerate(first):
        for j, other in enumerate(second):
            if min(areas[i], others[j]) >= LEAST_IOU * max(areas[i], others[j], 1):
                both = mask.intersection(other)
                alike.append((both / (areas[i] + others[j] - both), i, j))
    free, free_too, ious = set(range(len(first))), set(range(len(second))), []
    for iou, i, j in sorted(alike, reverse=True):
        if iou >= LEAST_IOU and i in free and j in free_too:
            free.remove(i)
            free_too.remove(j)
            ious.append(iou)
    return Pairs(len(ious), float(np.mean(ious)) if ious else 1.0)
