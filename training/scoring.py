"""Scores a label map against the truth: one-to-one matching at an IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class Score:
    """How well grains were found.

    Attributes:
        matched: Pairs of a found and a true grain with IoU ≥ the threshold (TP).
        found: Grains found (TP + FP).
        true: True grains (TP + FN).
        size_error: Mean of (found − true) / true equivalent diameter over the matched pairs; NaN without pairs.
    """

    matched: int
    found: int
    true: int
    size_error: float

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing was found."""
        return 2 * self.matched / (self.found + self.true) if self.found + self.true else 1.0


def score(found: NDArray[np.int32], true: NDArray[np.int32], threshold: float = 0.5) -> Score:
    """Matches grains one to one so that the sum of IoU is largest.

    Args:
        found: H × W, int32, 0 is no grain.
        true: H × W, int32, 0 is no grain.
        threshold: Smallest IoU of a match.

    Returns:
        The score.
    """
    columns = int(true.max()) + 1
    rows = int(found.max()) + 1
    pairs = found.ravel().astype(np.int64) * columns + true.ravel()
    overlap = np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
    found_area, true_area = overlap.sum(axis=1), overlap.sum(axis=0)
    iou = overlap / np.maximum(found_area[:, None] + true_area[None] - overlap, 1)
    iou = iou[1:, 1:]
    mine, its = linear_sum_assignment(-np.where(iou >= threshold, iou, 0))
    good = iou[mine, its] >= threshold
    mine, its = mine[good], its[good]
    ratio = np.sqrt(found_area[1:][mine] / np.maximum(true_area[1:][its], 1)) - 1
    return Score(
        matched=len(mine),
        found=int((found_area[1:] > 0).sum()),
        true=int((true_area[1:] > 0).sum()),
        size_error=float(ratio.mean()) if len(ratio) else float("nan"),
    )
