from __future__ import annotations

import dataclasses

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


def test_rayleigh_by_hand() -> None:
    """Zar (1999), eq. 27.4: P = exp(√(1 + 4n + 4(n² − R²)) − (1 + 2n)); of 0°, 0°, 0°, 90°: n = 4, R = 3 − 1."""
    found = measured([0.0, 0.0, 0.0, 90.0])
    assert found.resultant == pytest.approx(0.5)
    assert found.p_value == pytest.approx(np.exp(np.sqrt(65) - 9))
    assert found.p_value == pytest.approx(0.3916, abs=1e-4)
    assert measured([0.0, 90.0]).p_value == pytest.approx(1.0)


def test_by_area_a_grain_counts_its_area() -> None:
    """With areas 1 : 4 at right angles R̄ = 0.8 − 0.2, and the effective number of grains is (Σw)²/Σw² = 25/17."""
    sample = make_sample([10.0, 20.0], angles=[0.0, 90.0])
    found = orientation(sample, "area", edge_correction=True)
    assert found.mean == pytest.approx(90)
    assert found.resultant == pytest.approx(0.6)
    assert found.p_value == pytest.approx(0.6589, abs=1e-4)
    assert (found.rose[0], found.rose[9]) == pytest.approx((0.2, 0.8))
    assert (found.weighting, found.grains, found.equant) == ("area", 2, 0)


def test_the_mean_is_between_0_and_180() -> None:
    assert measured([170.0, 172.0]).mean == pytest.approx(171)
    assert measured([80.0, 84.0]).mean == pytest.approx(82)


def test_an_axis_at_180_degrees_is_one_at_0() -> None:
    assert measured([180.0]).rose[0] == 1.0
    assert measured([180.0]).mean == pytest.approx(measured([0.0]).mean)


def test_grains_a_fifth_longer_than_wide_have_an_orientation() -> None:
    found = measured([10.0, 20.0], aspect_ratios=[1.2, 1.199])
    assert (found.grains, found.equant) == (1, 1)
    assert found.mean == pytest.approx(10)


def test_a_grain_that_the_frame_cuts_is_in_no_count() -> None:
    sample = make_sample([10.0] * 4, angles=[10.0, 50.0, 90.0, 90.0], aspect_ratios=[2.0, 2.0, 1.0, 1.0])
    cut = dataclasses.replace(sample, touches_edge=np.array([False, True, False, True]))
    found = orientation(cut, "number", edge_correction=True)
    assert (found.grains, found.equant) == (1, 1)
    assert found.mean == pytest.approx(10)
    nothing = orientation(dataclasses.replace(cut, aspect_ratio=np.ones(4)), "number", edge_correction=True)
    assert (nothing.grains, nothing.equant) == (0, 2)


def test_the_rose_has_as_many_bins_as_asked_for() -> None:
    sample = make_sample([10.0] * 2, angles=[0.0, 179.0])
    assert orientation(sample, "number", edge_correction=True, bins=4).rose == (0.5, 0.0, 0.0, 0.5)
    equant = make_sample([10.0], aspect_ratios=[1.0])
    assert orientation(equant, "number", edge_correction=True, bins=4).rose == (0.0,) * 4
    assert len(orientation(equant, "number", edge_correction=True).rose) == 18


def test_each_bin_of_the_rose_is_ten_degrees_from_its_lower_limit_on() -> None:
    for index in range(18):
        for angle in (10 * index, 10 * index + 9.99):
            assert np.flatnonzero(measured([float(angle)]).rose).tolist() == [index]


def interval_of(angles: ArrayLike, resampling: Resampling, **options: object) -> Interval | None:
    angles = np.asarray(angles, np.float64)
    sample = make_sample(np.full(angles.size, 10.0), angles=angles, **options)  # type: ignore[arg-type]
    return orientation(sample, "number", edge_correction=True, resampling=resampling).mean_interval


def drawn(mean: float, n: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Draws axial von Mises angles about a mean, degrees in [0, 180)."""
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
    """Angles lie about 0°, half of them near 180°; there are 95 % intervals of 300 samples of 60 grains."""
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
    """One of two images has no elongated grain, so a resample that draws it twice has no mean."""
    angles, ratios = [30.0, 32.0, 28.0, 31.0, 0.0], [2.0] * 4 + [1.0]
    found = interval_of(angles, Resampling("image", 100), image=[0, 0, 0, 0, 1], aspect_ratios=ratios)
    assert found is not None
    assert (found.low, found.high) == (None, None)
