from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.population import population
from tests.unit.client.stats.samples import make_sample


def mean_of(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([values @ times / times.sum()])


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(50, 10, 400)
    (found,) = Resampling("grain").intervals(lambda times: mean_of(values, times), np.zeros(400, np.int64), 1)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    np.testing.assert_allclose([found.low, found.high], [values.mean() - half, values.mean() + half], atol=0.15)


def test_the_same_seed_gives_the_same_interval() -> None:
    sample = make_sample(np.random.default_rng(0).lognormal(3, 0.5, 50))
    one, again, other = (
        population(sample, "number", Resampling("grain", 200, seed=seed), edge_correction=True).percentiles[50]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_whole_images_are_drawn_where_they_differ() -> None:
    """Grains of an image are alike: drawn one by one, they would promise more than six images can."""
    random = np.random.default_rng(0)
    image = np.repeat(np.arange(6), 100)
    sample = make_sample(np.exp(random.normal(3, 0.3, 6)[image] + random.normal(0, 0.1, 600)), image=image)
    by_image, by_grain = (
        population(sample, "number", Resampling(by, 500), edge_correction=True).mean for by in ("image", "grain")
    )
    assert by_image.value == by_grain.value
    assert by_image.low is not None
    assert by_image.high is not None
    assert by_grain.low is not None
    assert by_grain.high is not None
    assert by_image.high - by_image.low > 4 * (by_grain.high - by_grain.low)


def test_one_grain_has_no_interval() -> None:
    found = population(make_sample([7.0]), "number", Resampling("grain", 50), edge_correction=True)
    assert (found.mean.value, found.mean.low, found.mean.high) == (7.0, None, None)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1, 100), min_size=2, max_size=20))
def test_intervals_hold_their_values(sizes: list[float]) -> None:
    found = population(make_sample(sizes), "area", Resampling("grain", 200), edge_correction=True)
    for each in (found.mean, *found.percentiles.values()):
        if each.low is None or each.high is None:
            assert each.reason
        else:
            assert each.low - 1e-9 <= each.value <= each.high + 1e-9


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(3)
    truth, held = np.exp(3.0), 0
    for seed in range(200):
        sample = make_sample(random.lognormal(3.0, 0.5, 120))
        found = population(sample, "number", Resampling("grain", 200, seed=seed), edge_correction=True).percentiles[50]
        held += found.low is not None and found.high is not None and found.low <= truth <= found.high
    assert 0.90 <= held / 200 <= 0.99
