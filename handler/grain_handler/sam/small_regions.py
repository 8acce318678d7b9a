"""Small regions of masks: removes specks and pinholes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EIGHT_CONNECTED = np.ones((3, 3), int)


def remove_small_regions(mask: NDArray[np.bool_], smaller_than: int) -> tuple[NDArray[np.bool_], bool]:
    """Fills small holes, then drops small islands, as stock SAM's `min_mask_region_area` does.

    Args:
        mask: H × W, bool; the whole frame, so that background at a patch's border is no hole.
        smaller_than: regions of fewer pixels are removed, px. Regions are 8-connected, holes too. If all islands are
            small, the largest stays; of several largest, the first in the order of OpenCV, which stock uses and which
            scans 2 × 2 blocks.

    Returns:
        The mask, and True if it changed.
    """
    small = _small(~mask, smaller_than)
    filled = mask | np.isin(small.labels, small.numbers) if small.numbers.size else mask
    islands = _small(filled, smaller_than)
    if not islands.numbers.size:
        return filled, bool(small.numbers.size)
    dropped = islands.numbers
    if len(dropped) == len(islands.areas):
        largest = 1 + np.flatnonzero(islands.areas == islands.areas.max())
        y, x = np.nonzero(np.isin(islands.labels, largest))
        first = np.lexsort((x // 2, y // 2))[0]
        return islands.labels == islands.labels[y[first], x[first]], True
    return filled & ~np.isin(islands.labels, dropped), True


class _small:  # noqa: N801
    """The connected regions of an image, and the numbers of the small ones."""

    def __init__(self, image: NDArray[np.bool_], smaller_than: int) -> None:
        self.labels, count = ndimage.label(image, EIGHT_CONNECTED)
        self.areas = np.bincount(self.labels.ravel(), minlength=count + 1)[1:]
        self.numbers = 1 + np.flatnonzero(self.areas < smaller_than)
