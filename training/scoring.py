"""Scores label maps against the truth: matches grains one to one and compares their sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds over which scores are averaged, 0.50:0.05:0.95."""


@dataclass(frozen=True)
class Score:
    """The score of a label map.

    Attributes:
        pairs: K × 2, labels of the matched grains, found and true, by falling IoU.
        iou: K, IoU of the pairs, at least the threshold of the matching.
        found: number of grains found.
        true: number of true grains.
        size_error: mean of (found − true) / true equivalent diameter over the pairs; NaN without pairs.
    """

    pairs: NDArray[np.int64]
    iou: NDArray[np.float64]
    found: int
    true: int
    size_error: float

    @property
    def matched(self) -> int:
        """The number of pairs, TP."""
        return len(self.iou)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN) at the threshold of the matching; 1 if there are neither true nor found grains."""
        return 2 * self.matched / (self.found + self.true) if self.found + self.true else 1.0

    def average_precision(self, threshold: float) -> float:
        """Returns TP / (TP + FP + FN), average precision as cell and grain tools define it (not as COCO does).

        Args:
            threshold: smallest IoU of a match, at least that of the matching.
        """
        matched = int((self.iou >= threshold).sum())
        return matched / (self.found + self.true - matched) if self.found + self.true else 1.0

    def panoptic_quality(self, threshold: float) -> float:
        """Returns Σ IoU / (TP + ½ FP + ½ FN).

        Args:
            threshold: smallest IoU of a match, at least that of the matching.
        """
        return (
            2 * float(self.iou[self.iou >= threshold].sum()) / (self.found + self.true)
            if self.found + self.true
            else 1.0
        )


def score(found: NDArray[np.int32], true: NDArray[np.int32], threshold: float = 0.5) -> Score:
    """Matches grains one to one so that the sum of IoU is largest, and returns the score.

    At an IoU of 0.5 or more a grain has one partner at most, so the pairs of a higher threshold are among these.

    Args:
        found: H × W, int32, 0 is no grain.
        true: H × W, int32, 0 is no grain.
        threshold: smallest IoU of a match.

    Returns:
        The score.
    """
    columns = int(true.max()) + 1
    rows = int(found.max()) + 1
    together = found.ravel().astype(np.int64) * columns + true.ravel()
    overlap = np.bincount(together, minlength=rows * columns).reshape(rows, columns)
    found_area, true_area = overlap.sum(axis=1), overlap.sum(axis=0)
    iou = overlap / np.maximum(found_area[:, None] + true_area[None] - overlap, 1)
    iou[0], iou[:, 0] = 0, 0
    mine, its = linear_sum_assignment(-np.where(iou >= threshold, iou, 0))
    good = iou[mine, its] >= threshold
    pairs, matched = np.stack([mine[good], its[good]], axis=1), iou[mine, its][good]
    order = np.argsort(-matched, kind="stable")
    ratio = np.sqrt(found_area[mine[good]] / np.maximum(true_area[its[good]], 1)) - 1
    return Score(
        pairs[order],
        matched[order],
        found=int((found_area[1:] > 0).sum()),
        true=int((true_area[1:] > 0).sum()),
        size_error=float(ratio.mean()) if len(ratio) else float("nan"),
    )


def without_cut_grains(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Returns the label map without the grains that touch the frame, which some truths leave out."""
    cut = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.where(np.isin(labels, cut), 0, labels).astype(np.int32)
