from __future__ import annotations

import numpy as np
import pytest

from grainserve.results.overlay import PALETTE, draw_overlay


def luminance(colour: np.ndarray) -> float:
    """Relative luminance by WCAG 2, 0 to 1."""
    parts = colour.astype(float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("grey", [0, 255])
def test_a_line_of_any_colour_shows_on_black_and_on_white(grey: int) -> None:
    side = 100
    labels = np.arange(1, len(PALETTE) + 1, dtype=np.int32).repeat(side)[None].repeat(1200, axis=0)
    labels[:40] = labels[-40:] = 0
    drawn = np.asarray(draw_overlay(np.full((*labels.shape, 3), grey, np.uint8), labels, None))
    lines = drawn[40, side // 2 :: side]
    rim = drawn[42, side // 2]
    assert {tuple(line) for line in lines} == {tuple(colour) for colour in PALETTE}
    for line in lines:
        # WCAG asks for 3 : 1 between graphics and what is beside them.
        assert max(contrast(line, drawn[39, 50]), min(contrast(line, rim), contrast(rim, drawn[60, 50]))) >= 3
