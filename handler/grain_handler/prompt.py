"""The prompt: what SAM is asked about one object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain_handler.masks import Mask


@dataclass(frozen=True)
class Prompt:
    """Points, a box, a mask to refine: any of them, at least one.

    Attributes:
        points: k × 2, (x, y) in px of the image, float64.
        labels: k, 1 in the object, 0 outside it.
        box: Left, top, right, bottom, px of the image, float64; right and bottom are those after the last pixel.
        mask: The mask to refine: pixels, or the answer to an earlier prompt.
        multimask: Three masks (whole, part, subpart) instead of one.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None
    mask: Mask | Earlier | None
    multimask: bool


@dataclass(frozen=True)
class Earlier:
    """A mask that answered an earlier prompt.

    SAM refines a mask by its logits, and a little noise on them moves the outcome a lot; so they are not sent about:
    the earlier prompt is asked again.

    Attributes:
        prompt: What was asked.
        number: Which of the decoder's masks it was, from 0.
    """

    prompt: Prompt
    number: int
