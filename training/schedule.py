"""Learning rates over the steps of a run."""

from __future__ import annotations

import math


def plateau(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, then a straight fall to zero over the last 30 %.

    A plateau lets a run be prolonged or cut short by resuming it with another --steps.
    """
    return peak * min(1.0, (step + 1) / 300, max(0.0, (steps - step) / (0.3 * steps)))


def cosine(step: int, steps: int, peak: float) -> float:
    """A warm-up over the first tenth, 100 steps at most, then half a cosine to zero."""
    warm = max(1, min(100, steps // 10))
    return peak * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
