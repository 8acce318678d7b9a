"""Compares measurements with exactly known shapes, over size, aspect ratio, angle and position on the pixel grid.

The tolerances allow for the pixel grid: an ellipse meets it at all angles, so errors cancel; a rectangle that lies
along it gains or loses a whole row.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest

from benchmarks.shapes import Shape
from grain_handler.grains.measure import measure_mask
from grain_handler.masks import Mask, crop_to_content

Kind = Literal["ellipse", "rectangle"]
ANGLES = np.arange(0, 180, 15.0)
# Tolerances of equivalent diameter and axes, px; of a perimeter, a share at every size, plus a share over the diameter.
SLACK = {"ellipse": (0.35, 0.7, 0.008, 0.6), "rectangle": (1.1, 1.1, 0.06, 1.0)}
# Each caliper ends at corners of pixels.
FERET = (-1.25, 1.45)


def measured(shape: Shape, dx: float, dy: float) -> dict[str, Any]:
    frame = shape.mask(dx, dy)
    return measure_mask(Mask(*crop_to_content(frame), 1, 1), np.zeros((*frame.shape, 3), np.uint8), None)


@pytest.mark.parametrize("aspect", [1, 1.5, 3])
@pytest.mark.parametrize("diameter", [10, 20, 60, 200])
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_a_shape_is_measured_as_it_is(kind: Kind, diameter: float, aspect: float) -> None:
    rng = np.random.default_rng(int(diameter * aspect))
    diameter_slack, axis_slack, perimeter_slack, perimeter_over = SLACK[kind]
    ratio_slack = 2 * axis_slack / diameter
    means: dict[str, list[float]] = {}
    for angle in ANGLES:
        shape = Shape(kind, diameter, aspect, float(angle))
        true = shape.truth
        for dx, dy in rng.uniform(-0.5, 0.5, (2, 2)):
            found = measured(shape, dx, dy)
            off = {key: found[key] - value for key, value in true.items()}
            for key in ("area", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "perimeter"):
                means.setdefault(key, []).append(off[key] / true[key])
            assert abs(off["equivalentDiameter"]) < diameter_slack
            assert abs(off["majorAxisLength"]) < axis_slack
            assert abs(off["minorAxisLength"]) < axis_slack
            assert FERET[0] < off["feretMax"] < FERET[1]
            assert FERET[0] < off["feretMin"] < FERET[1]
            assert abs(off["perimeter"] / true["perimeter"]) < perimeter_slack + perimeter_over / diameter
            assert abs(off["aspectRatio"] / aspect) < ratio_slack
            assert abs(off["roundness"] / true["roundness"]) < ratio_slack
            assert -3 / diameter <= off["solidity"] <= 0
            assert -1 / diameter < off["eccentricity"] < 2 / math.sqrt(diameter)
            if aspect > 1:
                turn = (found["orientationFromX"] - angle + 90) % 180 - 90
                assert abs(turn) < 60 / diameter
                assert (found["orientation"] + 90) % 180 == found["orientationFromX"]
    # Errors of the grid at one position and angle cancel those at another.
    share = 0.35 / diameter
    assert abs(np.mean(means["area"])) < 4 * share
    assert abs(np.mean(means["equivalentDiameter"])) < 2 * share
    assert abs(np.mean(means["majorAxisLength"])) < 4 * share
    assert abs(np.mean(means["minorAxisLength"])) < 4 * share
    assert abs(np.mean(means["perimeter"])) < (0.01 if kind == "ellipse" else 0.02 + 4 * share)


def test_a_square_and_a_disc_have_two_axes_alike() -> None:
    y, x = np.mgrid[-60:61, -60:61]
    # Sizes at which rounding would make the minor axis the longer one, and others.
    squares = [np.ones((side, side), bool) for side in (2, 3, 66, 116)]
    discs = [crop_to_content(x**2 + y**2 <= radius**2)[2] for radius in (3, 26, 52, 57)]
    for patch in squares + discs:
        found = measure_mask(Mask(0, 0, patch, 1, 1), np.zeros((*patch.shape, 3), np.uint8), None)
        assert found["eccentricity"] == 0
        assert found["minorAxisLength"] <= found["majorAxisLength"]
        assert found["aspectRatio"] == pytest.approx(1, rel=1e-12)
