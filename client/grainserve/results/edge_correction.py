"""The correction of sizes for grains that the frame cuts (Miles 1974, Lantuéjoul 1978; ISO 13322-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def inclusion(boxes: Floats, frames: Floats) -> Floats:
    """Returns the probability that a frame placed at random over a grain holds it whole, (1 − F_h/Z₁)(1 − F_v/Z₂).

    Args:
        boxes: n × 2, width and height of each grain's bounding box.
        frames: n × 2, width and height of each grain's frame, in the same unit.

    Returns:
        n, 0 for a grain as long as its frame.
    """
    found: Floats = (1 - boxes / frames).clip(0).prod(axis=1)
    return found


def stands_for(sizes: Floats, touches_edge: NDArray[np.bool_], chance: Floats, *, edge_correction: bool) -> Floats:
    """Returns how many grains of the population each of n grains stands for; 0 leaves a grain out.

    Args:
        sizes: n; NaN where a grain has no size: it counts 0.
        touches_edge: n, whether the frame cuts the grain.
        chance: n, the grain's `inclusion`.
        edge_correction: whether a grain that the frame cuts counts 0, and a whole grain 1/`inclusion`, since a large
            grain is less likely to be whole than a small one. Without it, every grain counts 1, and a cut grain has
            its visible size.
    """
    sized = np.isfinite(sizes)
    if not edge_correction:
        return sized.astype(np.float64)
    whole = sized & ~touches_edge & (chance > 0)
    return np.divide(1.0, chance, out=np.zeros_like(chance), where=whole)


def name_of(*, edge_correction: bool) -> str:
    """Names what sizes are, for the numbers themselves: `corrected for the frame`, or not."""
    return f"{'' if edge_correction else 'not '}corrected for the frame"


def said_of(used: int, at_edge: int, *, edge_correction: bool) -> str:
    """Describes how sizes count the grains at the frame, for the line beside them.

    Args:
        used: number of grains that sizes are taken from.
        at_edge: number of grains that the frame cuts.
        edge_correction: whether sizes are corrected for the frame.
    """
    if edge_correction:
        left_out = f"the {at_edge} at the frame are left out"
        return f"sizes of {used}: {left_out}, and the others weighted by 1/P (Miles–Lantuéjoul)"
    return f"sizes of {used}, {at_edge} of them cut by the frame; no edge correction"
