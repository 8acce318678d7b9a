from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval
from grainserve.stats.orientation import Orientation, orientation
from tests.unit.client.stats.samples import make_sample


def measured(angles: ArrayLike, **options: object) -> Orientation:
    angles = np.asarray(angles, np.float64)
    sample = make_sample(np.full(angles.size, 10.0), angles=angles, **options)  # type: ignore[arg-type]
    return orientation(sample, "number", edge_correction=True)


def test_angles_on_both_sides_of_zero_have_their_mean_between_them() -> None:
    found = measured([170.0, 10.0])
    assert found.mean is not None
    assert min(found.mean, 180 - found.mean) == pytest.approx(0, abs=1e-9)
    assert found.resultant == pytest.approx(np.cos(np.radians(20)))


def test_grains_at_right_angles_cancel() -> None:
    assert measured([20.0, 110.0]).resultant == pytest.approx(0, abs=1e-12)


def test_grains_that_are_alike_have_a_resultant_of_one() -> None:
    found = measured([35.0] * 20)
    assert found.mean == pytest.approx(35)
    assert found.resultant == pytest.approx(1)
    assert found.p_value is not None
    assert found.p_value < 1e-8


def test_random_grains_are_rarely_significant() -> None:
    random = np.random.default_rng(0)
    values = [measured(random.uniform(0, 180, 50)).p_value for _ in range(400)]
    assert np.mean([value is not None and value < 0.05 for value in values]) == pytest.approx(0.05, abs=0.03)


def test_equant_grains_and_those_without_axis_are_left_out() -> None:
    found = measured([10.0, 50.0, np.nan], aspect_ratios=[2.0, 1.1, np.nan])
    assert (found.grains, found.equant) == (1, 2)
    nothing = measured([10.0], aspect_ratios=[1.0])
    assert (nothing.grains, nothing.mean, nothing.resultant, nothing.p_value) == (0, None, None, None)
    assert sum(nothing.rose) == 0


def test_the_rose_has_shares_of_ten_degrees() -> None:
    found = measured([5.0, 5.0, 15.0, 179.0])
    assert len(found.rose) == 18
    assert (found.rose[0], found.rose[1], found.rose[17]) == pytest.approx((0.5, 0.25, 0.25))


@given(st.lists(st.floats(0, 179.99), min_size=1, max_size=20), st.floats(0, 180))
def test_turning_all_grains_turns_the_mean(angles: list[float], turn: float) -> None:
    one, other = measured(angles), measured((np.array(angles) + turn) % 180)
    assert one.mean is not None
    assert other.mean is not None
    assert one.resultant is not None
    assert other.resultant == pytest.approx(one.resultant, abs=1e-6)
    if one.resultant > 1e-3:
        difference = (other.mean - one.mean - turn) % 180
        assert min(difference, 180 - difference) == pytest.approx(0, abs=1e-3)


def interval_of(angles: ArrayLike, resampling: Resampling, **options: object) -> Interval | None:
    angles = np.asarray(angles, np.float64)
    sample = make_sample(np.full(angles.size, 10.0), angles=angles, **options)  # type: ignore[arg-type]
    return orientation(sample, "number", edge_correction=True, resampling=resampling).mean_interval


def drawn(mean: float, n: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Axial von Mises angles about a mean, degrees in [0, 180)."""
    turned = np.degrees(np.random.default_rng(seed).vonmises(0, 2, n)) / 2
    return np.asarray((mean + turned) % 180)


def test_the_interval_is_as_wide_as_the_circular_standard_error_says() -> None:
    """Fisher (1993, eqs 4.21 and 4.22), for doubled angles: ± asin(1.96 √((1 − ρ₂)/(2 n R̄²)))."""
    angles = drawn(40, 500, 1)
    found = interval_of(angles, Resampling("grain", 1000))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    doubled = np.radians(2 * angles)
    mean = np.angle(np.exp(1j * doubled).mean())
    resultant, second = np.cos(doubled - mean).mean(), np.cos(2 * (doubled - mean)).mean()
    half = np.degrees(np.arcsin(1.96 * np.sqrt((1 - second) / (2 * 500 * resultant**2)))) / 2
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert found.low < found.value < found.high


def test_the_interval_holds_the_truth_across_zero_as_often_as_it_says() -> None:
    """Angles about 0°, of which half are near 180°: 95 % intervals of 300 samples of 60 grains."""
    held = 0
    for seed in range(300):
        found = interval_of(drawn(0, 60, seed), Resampling("grain", 200, seed=seed))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += any(found.low <= truth <= found.high for truth in (0, 180))
    assert held / 300 == pytest.approx(0.95, abs=0.035)


def test_without_a_direction_there_is_no_interval() -> None:
    resampling = Resampling("grain", 200)
    assert interval_of(np.arange(0.0, 180.0, 5.0), resampling) is None
    assert interval_of(drawn(30, 60, 0), Resampling("grain", 0)) is None


def test_images_that_hold_no_direction_in_a_resample_leave_no_interval() -> None:
    """Of two images one has no elongated grain: drawing it twice has no mean."""
    angles, ratios = [30.0, 32.0, 28.0, 31.0, 0.0], [2.0] * 4 + [1.0]
    found = interval_of(angles, Resampling("image", 100), image=[0, 0, 0, 0, 1], aspect_ratios=ratios)
    assert found is not None
    assert (found.low, found.high) == (None, None)
