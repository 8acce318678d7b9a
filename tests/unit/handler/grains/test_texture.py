"""Compares textures with patterns of known figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grain_handler.grains.texture import describe

SIDE = 64


def rgb(grey: Any) -> NDArray[np.uint8]:
    return np.repeat(np.asarray(grey)[..., None], 3, axis=-1).astype(np.uint8)


def texture(grey: Any) -> dict[str, Any]:
    """Returns the texture of one grain that fills the frame."""
    (found,) = describe(np.ones(np.shape(grey), np.int32), rgb(grey))
    return found


def lines(degrees: float) -> NDArray[np.float64]:
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = np.radians(degrees)
    return np.asarray(128 + 100 * np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / 9))


def test_a_flat_grain_has_none() -> None:
    assert texture(np.full((8, 8), 77)) == {"entropy": 0, "gradientMean": 0, "gradientStd": 0, "coherence": 0}


@pytest.mark.parametrize("slope", [1, 3])
def test_the_gradient_of_a_ramp_is_its_slope(slope: int) -> None:
    found = texture(np.tile(np.arange(SIDE) * slope, (SIDE, 1)))
    assert found["gradientMean"] == pytest.approx(slope)
    assert found["gradientStd"] == pytest.approx(0, abs=0.005)
    assert found["coherence"] == pytest.approx(1)


@pytest.mark.parametrize("levels", [1, 2, 8, 32])
def test_entropy_of_levels_that_are_equally_frequent(levels: int) -> None:
    grey = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % levels * (256 // levels)
    assert texture(grey)["entropy"] == pytest.approx(np.log2(levels))


@pytest.mark.parametrize(
    ("first", "second", "entropy"), [(0, 7, 0), (7, 8, 1), (8, 15, 0), (248, 255, 0), (247, 248, 1)]
)
def test_eight_levels_are_one_bin(first: int, second: int, entropy: float) -> None:
    assert texture([[first, second]])["entropy"] == entropy


def test_one_pixel_has_no_entropy() -> None:
    assert texture([[77]])["entropy"] == 0


def test_two_blocks_by_hand() -> None:
    """Differences along the diagonals are 10 and 10, 30 and 30: both blocks have one direction."""
    found = texture([[0, 10, 40], [0, 10, 40]])
    assert (found["gradientMean"], found["gradientStd"]) == pytest.approx((20, 10))
    assert found["coherence"] == pytest.approx(1)


def test_a_corner_by_hand() -> None:
    """Differences are 10 and 0, 10 and -10: J = 200, 100 and -100 across; (λ₁ - λ₂)/(λ₁ + λ₂) = √(100² + 200²)/300."""
    found = texture([[0, 0, 0], [0, 10, 10]])
    mean = (10 / np.sqrt(2) + 10) / 2
    assert found["gradientMean"] == pytest.approx(mean)
    assert found["gradientStd"] == pytest.approx(np.sqrt(75 - mean**2))
    assert found["coherence"] == pytest.approx(np.sqrt(5) / 3)


@pytest.mark.parametrize("slope", range(1, 25))
def test_a_gradient_that_is_the_same_everywhere_has_a_spread_of_0(slope: int) -> None:
    """Or of a rounding, above 0 or below."""
    assert texture(np.tile(np.arange(10) * slope, (7, 1)))["gradientStd"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 135])
def test_lines_are_coherent_at_any_angle(degrees: float) -> None:
    assert texture(lines(degrees))["coherence"] > 0.97


def test_noise_and_crossed_lines_are_not_coherent() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE))
    assert texture(noise)["coherence"] < 0.05
    assert texture((lines(0) + lines(90)) / 2)["coherence"] < 0.05


def test_a_grain_one_pixel_wide_has_no_gradient() -> None:
    found = texture(np.arange(0, 240, 24)[None])
    assert found["entropy"] > 3
    assert [found[name] for name in ("gradientMean", "gradientStd", "coherence")] == [None] * 3


def test_no_grains() -> None:
    assert describe(np.zeros((5, 6), np.int32), rgb(np.zeros((5, 6)))) == []


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_lies_outside_does_not_count(seed: int) -> None:
    """Each of several grains has the same texture as alone on a ground of another colour."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.repeat(rng.integers(0, 4, (4, 4)), 5, axis=0), 5, axis=1).astype(np.int32)
    labels = np.searchsorted(np.unique([0, *labels.ravel()]), labels).astype(np.int32)
    image = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    together = describe(labels, image)
    assert len(together) == labels.max()
    for number, found in enumerate(together, start=1):
        inside = labels == number
        (alone,) = describe(inside.astype(np.int32), np.where(inside[..., None], image, 255 - image).astype(np.uint8))
        assert found == pytest.approx(alone)
