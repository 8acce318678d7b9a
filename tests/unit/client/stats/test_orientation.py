from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

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
