"""A result with masks that are hard to outline, and the pixels of these masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainserve.result import Result
from tests.unit.client.made import make_result

CLASSES = ("quartz", "mica/biotite", "Glimmer-Ü")
SCALE = 2.5


def hard_masks() -> list[NDArray[np.bool_]]:
    """Makes n masks that do not overlap, 40 × 60, bool."""
    rows, columns = np.mgrid[:40, :60]
    distance = np.hypot(rows - 15, columns - 20)
    ring, core = (distance < 9) & (distance > 5), distance < 3
    pieces = np.zeros((40, 60), bool)
    pieces[30, 10], pieces[31, 11], pieces[35:38, 5:9] = True, True, True  # two meet at a corner, one lies apart
    pinched = np.zeros((40, 60), bool)
    pinched[25:34, 30:40] = True
    pinched[28, 33] = pinched[29, 34] = False  # two holes that meet at a corner
    pinched[32, 38] = pinched[33, 39] = False  # a hole that meets the outside at one
    cut = np.hypot(rows - 39, columns - 59) < 12  # by the frame
    speck = np.zeros((40, 60), bool)
    speck[0, 0] = True
    return [ring, core, pieces, pinched, cut, speck]


def hard_result(um_per_px: float | None = SCALE, image_id: str = "a" * 32) -> Result:
    """Makes a result with three classes and a measurement that is null."""
    data = make_result(image_id, um_per_px=um_per_px, masks=hard_masks())
    for number, grain in enumerate(data["segmentedObjects"]):
        grain["class"] = CLASSES[number % len(CLASSES)]
    data["segmentedObjects"][-1]["properties"] |= {"orientationFromX": None, "centroid": {"x": None, "y": 1.0}}
    return Result(data)
