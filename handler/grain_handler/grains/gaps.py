"""Closes gaps between grains, for materials in which every pixel belongs to a grain.

SAM's masks of a polycrystal leave its boundaries free. The planimetric and intercept methods count grains that fill the
image, so the grains grow into the gaps between them. A hole wider than a gap counts as a pore, and stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from grain_handler.grains.label_map import LabelMap

FILL_PX = 3
"""How far a grain grows into a gap that it shares with another, px; so gaps up to twice this wide are closed."""


def fill_gaps(painted: LabelMap) -> LabelMap:
    """Grows grains into the gaps between them.

    A gap is ground in which no disc of radius `FILL_PX` fits. Beyond the frame the image goes on as in a mirror, so a
    strip of ground along the frame's edge is a gap up to a width of `FILL_PX`. Each pixel of a gap goes to the nearest
    grain. Other ground, and the pixels that grains have already, stay as they are.

    Args:
        painted: grains that do not overlap.

    Returns:
        The same grains in the same order, grown. Their hole areas stay: a gap is no hole of a grain.
    """
    if not painted.grains:
        return painted
    labels = _grown(painted.labels, find_gaps(painted.labels == 0))
    places = ndimage.find_objects(labels)
    grains = [
        replace(mask, x=place[1].start, y=place[0].start, patch=labels[place] == number)
        for number, (mask, place) in enumerate(zip(painted.grains, places, strict=True), start=1)
    ]
    return LabelMap(labels, grains)


def find_gaps(ground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the pixels of ground in which no disc of radius `FILL_PX` fits.

    Args:
        ground: pixels that belong to no grain, H × W, bool.

    Returns:
        H × W, bool.
    """
    margin = 2 * FILL_PX + 1
    mirrored = np.pad(ground, margin, mode="symmetric")
    middles = _distance(~mirrored) > FILL_PX
    wide = _distance(middles) <= FILL_PX
    inside = slice(margin, -margin)
    gaps: NDArray[np.bool_] = ground & ~wide[inside, inside]
    return gaps


def _distance(target: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the distance of each pixel to the nearest pixel of `target`, px; infinite if `target` is empty."""
    if not target.any():
        return np.full(target.shape, np.inf)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~target)
    return distance


def _grown(labels: NDArray[np.int32], gaps: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Gives the pixels of gaps to grains, pixel by neighbouring pixel, so that no grain falls apart."""
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    # A margin gives every pixel four neighbours.
    wanted, grown = np.pad(labels[tuple(nearest)], 1).ravel(), np.pad(labels, 1)
    flat, left = grown.ravel(), np.flatnonzero(np.pad(gaps, 1))
    neighbours = np.array([-grown.shape[1], -1, 1, grown.shape[1]])
    while len(left):
        around, wish = flat[left[:, None] + neighbours], wanted[left]
        given = np.where((around == wish[:, None]).any(axis=1), wish, 0)
        if not given.any():  # pixels that the nearest grain cannot reach go to a grain that can
            given = around.max(axis=1)
        if not given.any():
            break
        flat[left] = given
        left = left[given == 0]
    return grown[1:-1, 1:-1].copy()
