"""The prompt: points, a box or a mask for which SAM returns masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain_handler.masks import Mask


@dataclass(frozen=True)
class Prompt:
    """Points, a box, a mask to refine: any of them, and at least one.

    Attributes:
        points: (x, y) of k points in px of the image, k × 2, float64.
        labels: labels of the points, k, int64; 1 is in the object, 0 outside it.
        box: left, top, right and bottom, px of the image, float64, half-open; None if there is no box.
        mask: mask to refine: pixels, or the answer to an earlier prompt; None if there is none.
        multimask: True for three masks (whole, part, subpart), False for one.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None
    mask: Mask | Earlier | None
    multimask: bool


@dataclass(frozen=True)
class Earlier:
    """A mask that answered an earlier prompt.

    SAM refines a mask by its logits, and a little noise on them changes the outcome a lot. So logits are not sent: the
    earlier prompt is decoded again.

    Attributes:
        prompt: the earlier prompt.
        number: index of the mask among the decoder's masks for that prompt, from 0.
    """

    prompt: Prompt
    number: int
