from __future__ import annotations

import numpy as np
import pytest

from grainserve.scale.runs import CONTRAST, stacks, standing_out


@pytest.mark.parametrize("thickness", range(1, 18))
def test_what_is_as_thick_as_asked_stands_out_and_what_is_thicker_does_not(thickness: int) -> None:
    plane = np.zeros((60, 9), np.uint8)
    plane[20 : 20 + thickness, 2:7] = CONTRAST
    assert (standing_out(plane, thickness) == (plane > 0)).all()
    plane[20 + thickness, 2:7] = CONTRAST
    assert not standing_out(plane, thickness).any()


@pytest.mark.parametrize("thickness", [4, 7])
def test_what_stands_out_is_what_an_opening_takes_away(thickness: int) -> None:
    plane = np.random.default_rng(thickness).integers(0, 256, (40, 30)).astype(np.uint8)
    opened = np.zeros_like(plane)
    for top in range(-thickness, 40):  # every window within the frame, and those that the frame cuts
        rows = slice(max(0, top), top + thickness + 1)
        opened[rows] = np.maximum(opened[rows], plane[rows].min(axis=0))
    assert (standing_out(plane, thickness) == (plane >= CONTRAST + opened.astype(int))).all()


def test_stacks_have_their_runs_mean_ends() -> None:
    mask = np.zeros((20, 40), bool)
    mask[3:6, 5:25] = mask[10, 30:38] = True
    mask[4, 25] = True
    mask[12, 2:4] = True  # too short
    assert sorted(stacks(mask, 5).tolist()) == [[5, 25, 3, 6], [30, 38, 10, 11]]
    assert stacks(mask, 30).shape == (0, 4)
