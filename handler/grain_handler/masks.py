"""The mask, on which every step after SAM works."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """One object's pixels, kept as a patch so that hundreds of masks stay small.

    Attributes:
        x: column of the patch's left edge in the image, px.
        y: row of the patch's top edge in the image, px.
        patch: h × w, bool; True somewhere along each of its four sides, unless the mask is empty.
        predicted_iou: SAM's own estimate of the mask's IoU, 0…1.
        stability_score: IoU of the mask with itself under shifted thresholds, 0…1.
        hole_area: number of hole pixels that were filled, px.
    """

    x: int
    y: int
    patch: NDArray[np.bool_]
    predicted_iou: float
    stability_score: float
    hole_area: int = 0

    @property
    def score(self) -> float:
        """Predicted IoU × stability score, 0…1; it decides which of two masks is the better one."""
        return min(1.0, max(0.0, self.predicted_iou)) * self.stability_score

    @property
    def area(self) -> int:
        """Number of pixels of the mask, px."""
        return int(np.count_nonzero(self.patch))

    def intersection(self, other: Mask) -> int:
        """Counts the pixels that both masks have."""
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        x1 = min(self.x + self.patch.shape[1], other.x + other.patch.shape[1])
        y1 = min(self.y + self.patch.shape[0], other.y + other.patch.shape[0])
        if x0 >= x1 or y0 >= y1:
            return 0
        mine = self.patch[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]
        its = other.patch[y0 - other.y : y1 - other.y, x0 - other.x : x1 - other.x]
        return int(np.count_nonzero(mine & its))

    def window(self) -> tuple[slice, slice]:
        """Returns the patch's rows and columns, as slices of the image."""
        return slice(self.y, self.y + self.patch.shape[0]), slice(self.x, self.x + self.patch.shape[1])

    def full(self, height: int, width: int) -> NDArray[np.bool_]:
        """Returns the mask in an otherwise empty image of height × width px, bool."""
        frame = np.zeros((height, width), bool)
        frame[self.window()] = self.patch
        return frame


def crop_to_content(frame: NDArray[np.bool_]) -> tuple[int, int, NDArray[np.bool_]]:
    """Cuts a frame to its True pixels.

    Args:
        frame: H × W, bool.

    Returns:
        The patch's left column and top row, px, and the patch; an empty frame gives 0, 0 and an empty patch.
    """
    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    if len(rows) == 0:
        return 0, 0, np.zeros((0, 0), bool)
    y, x = int(rows[0]), int(columns[0])
    return x, y, frame[y : rows[-1] + 1, x : columns[-1] + 1].copy()
