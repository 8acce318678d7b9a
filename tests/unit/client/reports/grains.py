"""Results of many discs of known sizes on a grid, for reports."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.reports.sources import Measured
from grainserve.result import Result
from tests.unit.client.made import make_result

SIDE, PITCH = 400, 40


def discs(count: int, *, seed: int = 1, um_per_px: float | None = 2.0, **metadata: Any) -> Result:
    """Makes `count` ≤ 100 discs with radii from 6 to 18 px in a frame of 400 × 400 px; none touches the frame.

    Args:
        count: number of discs.
        seed: random seed of their radii.
        um_per_px: scale, µm per px.
        **metadata: entries that replace those of `make_result`.
    """
    data = deepcopy(_discs(count, seed, um_per_px))
    data["metadata"] |= metadata
    return Result(data)


@cache
def _discs(count: int, seed: int, um_per_px: float | None) -> dict[str, Any]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = []
    for index, radius in enumerate(np.random.default_rng(seed).uniform(6, 18, count)):
        y, x = (PITCH * place + PITCH // 2 for place in divmod(index, SIDE // PITCH))
        masks.append((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)
    data = make_result(f"image{seed}".ljust(32, "0"), um_per_px=um_per_px, mask_format="rle", masks=masks)
    data["metadata"]["image"] |= {"width": SIDE, "height": SIDE}
    data["metadata"]["options"] |= {"points_per_side": 128}
    return data


def cut(result: Result) -> Result:
    """Makes the same grains, all cut by the frame: with the edge correction there are no sizes and few figures."""
    data = deepcopy(result.to_dict())
    for each in data["segmentedObjects"]:
        each["properties"]["touchesEdge"] = True
    return Result(data)


def measured(result: Result, name: str = "sand.png", *, picture: bool = True) -> Measured:
    """Wraps a result with a grey picture, or without one."""
    if picture:
        return Measured(name, result, grey())
    return Measured(name, result, missing="it was lost")


def grey() -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), 120, np.uint8)
