"""Closes gaps between grains: a boundary has no width in ASTM E112."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int32]

GAP_PX = 3
"""Width of the widest gap that is closed by default, px."""


def close_gaps(labels: Labels, width: int = GAP_PX) -> Labels:
    """Gives each pixel of a gap between grains to the nearest grain.

    A gap is ground in which no disc fits that is wider than `width`; beyond the frame the image goes on as in a mirror.
    Pores and second phases wider than a gap stay as they are.

    Args:
        labels: H × W, int32; grain of each pixel, 0 on ground.
        width: width of the widest gap to close, px; 0 closes none.

    Returns:
        H × W, int32.
    """
    from scipy import ndimage  # noqa: PLC0415

    ground = labels == 0
    if width == 0 or ground.all() or not ground.any():
        return labels
    mirrored = np.pad(ground, width, mode="symmetric")
    wide = ndimage.binary_opening(mirrored, _disc(width + 1))[width:-width, width:-width]
    nearest = ndimage.distance_transform_edt(ground, return_distances=False, return_indices=True)
    return np.where(ground & ~wide, labels[tuple(nearest)], labels)


def _disc(diameter: int) -> NDArray[np.bool_]:
    """Returns a disc of pixels, `diameter` × `diameter`."""
    along = np.arange(diameter) - (diameter - 1) / 2
    disc: NDArray[np.bool_] = along[:, None] ** 2 + along**2 <= diameter**2 / 4
    return disc
