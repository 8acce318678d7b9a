"""Learning rates over the steps of a run."""

from __future__ import annotations

import math


def plateau(step: int, steps: int, peak: float) -> float:
    """Returns a rate that warms up over 300 steps, stays, and falls linearly to zero over the last 30 % of the steps.

    Thanks to the plateau, a run can be resumed with another --steps to make it longer or shorter.

    Args:
        step: steps taken.
        steps: steps of the whole run.
        peak: highest rate.
    """
    return peak * min(1.0, (step + 1) / 300, max(0.0, (steps - step) / (0.3 * steps)))


def cosine(step: int, steps: int, peak: float) -> float:
    """Returns a rate that follows half a cosine to zero, with a warm-up over the first tenth, at most 100 steps.

    Args:
        step: steps taken.
        steps: steps of the whole run.
        peak: highest rate.
    """
    warm = max(1, min(100, steps // 10))
    return peak * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
