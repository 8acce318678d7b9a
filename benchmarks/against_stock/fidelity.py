"""Agreement of two lists of masks of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from grain_handler.grains.label_map import label_map
from grain_handler.masks import Mask

LEAST_IOU = 0.5
"""Least IoU of two masks that count as the same."""

MIN_AREA, MAX_AREA_FRACTION = 20, 0.5
"""A request's defaults for the label map whose grains are sized."""


@dataclass(frozen=True)
class Agreement:
    """The agreement of two lists of masks.

    Attributes:
        unmatched: numbers of masks without a partner, in the first list and in the second.
        min_iou: least IoU of matched masks; None if none match.
        mean_iou: mean IoU of matched masks; None if none match.
        max_predicted_iou_diff: largest difference of matched masks' predicted IoU; None if none match.
        max_stability_diff: largest difference of matched masks' stability score; None if none match or a list has none.
    """

    unmatched: tuple[int, int]
    min_iou: float | None
    mean_iou: float | None
    max_predicted_iou_diff: float | None
    max_stability_diff: float | None


def agreement(first: Sequence[Mask], second: Sequence[Mask]) -> Agreement:
    """Pairs masks one to one, so that the sum of the pairs' IoU is largest, and compares the partners.

    Args:
        first: masks of an image.
        second: masks of the same image.

    Returns:
        What was found.
    """
    iou = iou_matrix(first, second)
    # Pairs below the least IoU count 0, so that none takes a mask from its true partner.
    rows, columns = linear_sum_assignment(np.where(iou >= LEAST_IOU, iou, 0), maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if iou[i, j] >= LEAST_IOU]
    matched = [float(iou[i, j]) for i, j in pairs]
    return Agreement(
        unmatched=(len(first) - len(pairs), len(second) - len(pairs)),
        min_iou=min(matched, default=None),
        mean_iou=float(np.mean(matched)) if matched else None,
        max_predicted_iou_diff=_largest([first[i].predicted_iou - second[j].predicted_iou for i, j in pairs]),
        max_stability_diff=_largest([first[i].stability_score - second[j].stability_score for i, j in pairs]),
    )


def iou_matrix(first: Sequence[Mask], second: Sequence[Mask]) -> NDArray[np.float64]:
    """Returns the IoU of every pair that can reach `LEAST_IOU`, 0 elsewhere; len(first) × len(second)."""
    iou = np.zeros((len(first), len(second)))
    boxes, others = _boxes(first), _boxes(second)
    areas, other_areas = _areas(first), _areas(second)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    # The masks' intersection is no larger than the boxes' intersection and the smaller mask.
    most = np.minimum((high - low).clip(0).prod(-1), np.minimum(areas[:, None], other_areas[None, :]))
    possible = most >= LEAST_IOU * np.maximum(areas[:, None], other_areas[None, :])
    for i, j in np.argwhere(possible & (most > 0)):
        both = first[i].intersection(second[j])
        iou[i, j] = both / (areas[i] + other_areas[j] - both)
    return iou


def d50(masks: Sequence[Mask], height: int, width: int) -> tuple[int, float | None]:
    """Returns the number of grains of the masks' label map and their median equivalent diameter (by number), px."""
    grains = label_map(masks, height, width, MIN_AREA, MAX_AREA_FRACTION).grains
    if not grains:
        return 0, None
    return len(grains), float(np.median([np.sqrt(4 * grain.area / np.pi) for grain in grains]))


def relative_change(before: float | None, after: float | None) -> float | None:
    """Returns (after − before) / before; None if there is nothing to compare."""
    return None if before is None or after is None else (after - before) / before


def _boxes(masks: Sequence[Mask]) -> NDArray[np.int64]:
    """Left, top, right, bottom (half-open), px; n × 4."""
    boxes = [(m.x, m.y, m.x + m.patch.shape[1], m.y + m.patch.shape[0]) for m in masks]
    return np.array(boxes, np.int64).reshape(-1, 4)


def _areas(masks: Sequence[Mask]) -> NDArray[np.int64]:
    return np.array([mask.area for mask in masks], np.int64)


def _largest(differences: Sequence[float]) -> float | None:
    """Largest absolute difference; None if there is none or one is unknown."""
    if not differences or not np.isfinite(differences).all():
        return None
    return float(np.abs(differences).max())
