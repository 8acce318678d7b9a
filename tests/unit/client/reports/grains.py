"""Results of many discs of known sizes, laid out on a grid, for reports to be made of."""

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
    """`count` ≤ 100 discs with radii from 6 to 18 px in a frame of 400 × 400 px; none touches the frame.

    Args:
        count: of discs.
        seed: of their radii.
        um_per_px: scale.
        **metadata: replaces what `make_result` has.
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
    """The same grains, all cut by the frame: with the edge correction there are no sizes, and few figures to draw."""
    data = deepcopy(result.to_dict())
    for each in data["segmentedObjects"]:
        each["properties"]["touchesEdge"] = True
    return Result(data)


def measured(result: Result, name: str = "sand.png", *, picture: bool = True) -> Measured:
    """With a grey picture, or without one."""
    if picture:
        return Measured(name, result, grey())
    return Measured(name, result, missing="it was lost")


def grey() -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), 120, np.uint8)
