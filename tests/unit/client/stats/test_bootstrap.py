from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainserve.stats import bootstrap
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
    """Grains of an image are alike: drawn one by one, they would give narrower intervals than six images justify."""
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


# By hand ------------------------------------------------------------------------------------------------------------


class Rising:
    """An estimate that returns its number of calls (1, 2, 3, … for the resamples) and records its arguments."""

    def __init__(self) -> None:
        self.given: list[NDArray[np.float64]] = []

    def __call__(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        self.given.append(times)
        return np.array([len(self.given) - 1.0])


@pytest.mark.parametrize("by", ["grain", "image"])
def test_the_ends_are_percentiles_expanded_as_students_t(by: Literal["grain", "image"]) -> None:
    """Of ten units: t₉ at 2.5 % is −2.262157, times √(10/9) it is −2.384524, below which lie 0.8551 % of a normal."""
    image, images = (np.zeros(10, np.int64), 1) if by == "grain" else (np.repeat(np.arange(10), 3), 10)
    (found,) = Resampling(by, resamples=1001).intervals(Rising(), image, images)
    assert found.value == 0.0
    assert (found.low, found.high) == pytest.approx((1 + 8.551, 1001 - 8.551), abs=0.01)


def test_a_lower_level_is_a_narrower_interval() -> None:
    """Of ten units at 50 %: t₉ is −0.702722, expanded −0.740734, below which lie 22.943 %."""
    (found,) = Resampling("grain", 1001, level=0.5).intervals(Rising(), np.zeros(10, np.int64), 1)
    assert (found.low, found.high) == pytest.approx((1 + 229.43, 1001 - 229.43), abs=0.05)


def test_a_resample_has_as_many_grains_as_the_sample() -> None:
    estimate = Rising()
    Resampling("grain", 50).intervals(estimate, np.repeat(np.arange(3), 4), 3)
    whole, *drawn = estimate.given
    assert whole.tolist() == [1.0] * 12
    assert len(drawn) == 50
    assert {times.sum() for times in drawn} == {12.0}
    assert any(len(set(times[:4])) > 1 for times in drawn), "grains of one image are drawn apart"
    assert np.mean(drawn, axis=0) == pytest.approx(np.ones(12), abs=0.6)


def test_a_resample_of_images_takes_all_grains_of_an_image_as_often() -> None:
    estimate, image = Rising(), np.array([0, 0, 0, 1, 2, 2])
    Resampling("image", 1000).intervals(estimate, image, 4)  # the fourth has no grains
    for times in estimate.given[1:]:
        of_image = [set(times[image == index]) for index in range(3)]
        assert all(len(each) == 1 for each in of_image)
        assert sum(sum(each) for each in of_image) <= 4
    assert any(times.sum() == 0 for times in estimate.given[1:]), "the fourth image four times"


def test_nothing_is_drawn_where_there_is_one_unit_or_no_resample_is_asked_for() -> None:
    for by, resamples, image, images in (
        ("grain", 50, [0], 1),
        ("image", 50, [0, 0, 0], 1),
        ("grain", 0, [0, 0, 0], 1),
    ):
        estimate = Rising()
        (found,) = Resampling(by, resamples).intervals(estimate, np.array(image), images)  # type: ignore[arg-type]
        assert (found.low, found.high) == (None, None)
        assert len(estimate.given) == 1


def test_a_figure_that_came_out_as_nan_has_no_interval_and_the_others_have_theirs() -> None:
    def estimate(times: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([times[0] or np.nan, times.max()])

    first, other = Resampling("grain", 200).intervals(estimate, np.zeros(5, np.int64), 1)
    assert (first.value, first.low, first.high) == (1.0, None, None)
    assert other.low is not None


def test_unless_asked_otherwise_there_are_two_thousand_resamples_at_95_percent() -> None:
    assert Resampling("grain") == Resampling("grain", resamples=2000, level=0.95, seed=0)


def test_draws_that_are_kept_are_those_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.array(list(Resampling("grain", resamples=20, seed=3).draws(50)))
    monkeypatch.setattr(bootstrap, "KEPT", 0)
    np.testing.assert_array_equal(kept, np.array(list(Resampling("grain", resamples=20, seed=3).draws(50))))
