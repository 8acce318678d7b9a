from __future__ import annotations

import numpy as np
import pytest

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval, Reason
from grainserve.stats.population import Population, population
from grainserve.stats.studentised import Weighted
from tests.unit.client.stats.samples import make_sample


def log_normal(n: int, width: float = 0.3, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).lognormal(3, width, n)


def measured(sizes: object, weighting: str = "area", resampling: Resampling | None = None) -> Population:
    way = resampling or Resampling("grain", 200)
    return population(make_sample(sizes), weighting, way, edge_correction=True)  # type: ignore[arg-type]


def held(interval: Interval, truth: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def test_the_interval_of_an_unweighted_median_is_the_sign_tests() -> None:
    """Of 100 grains, the 40th to the 61st hold the median in 95 % of cases (Conover 1999)."""
    sizes = np.arange(1.0, 101.0)
    found = measured(sizes, "number", Resampling("grain", 4000)).percentiles[50]
    assert found.low == pytest.approx(40.5, abs=1)
    assert found.high == pytest.approx(60.5, abs=1)


def test_the_interval_of_an_unweighted_mean_is_students() -> None:
    values = np.sort(np.random.default_rng(0).normal(50, 10, 400))
    grains = Weighted(values, np.ones(400), np.zeros(400, np.int64), 1, Resampling("grain", 4000))
    (found,) = grains.means([values])
    half = 1.966 * values.std(ddof=1) / 20
    assert [found.low, found.high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.15)


@pytest.mark.parametrize(("n", "percent"), [(50, 84), (200, 90), (200, 95)])
def test_by_area_a_percentile_with_few_coarser_grains_has_no_interval_and_says_why(n: int, percent: int) -> None:
    found = measured(log_normal(n)).percentiles[percent]
    assert (found.low, found.high, found.reason) == (None, None, "too_few_coarser")


@pytest.mark.parametrize(("percent", "least"), [(50, 20), (84, 105), (90, 180), (95, 380)])
def test_by_area_the_coarser_half_must_lie_in_enough_grains(percent: int, least: int) -> None:
    """Grains of nearly one size: half of them hold half of the area."""
    few, enough = (measured(np.linspace(10, 10.001, n)).percentiles[percent] for n in (least - 4, least + 4))
    assert (few.reason, enough.reason) == ("too_few_coarser", None)


def test_d90_by_area_covers_where_it_has_an_interval() -> None:
    """Percentile intervals of such samples hold the truth in 85 % of cases."""
    truth = float(np.exp(3 + 2 * 0.4**2 + 1.2816 * 0.4))
    found = [measured(log_normal(800, 0.4, seed)).percentiles[90] for seed in range(100)]
    given = [each for each in found if each.reason is None]
    assert len(given) >= 90
    assert sum(held(each, truth) for each in given) >= 0.9 * len(given)


def test_a_mean_by_area_has_no_interval_where_one_grain_is_much_of_it() -> None:
    few, many = measured(log_normal(60, 0.6)), measured(log_normal(1000, 0.3))
    reason: Reason = "large_grains_dominate"
    for each in (few.mean, few.log_normal.geometric_mean, few.log_normal.geometric_sd):
        assert (each.low, each.reason) == (None, reason)
    for each in (many.mean, many.log_normal.geometric_mean, many.log_normal.geometric_sd):
        assert each.reason is None
    assert measured(log_normal(60, 0.6), "number").mean.reason is None, "by number, each grain is as much as another"


def test_the_geometric_sd_wants_more_grains_than_the_mean() -> None:
    found = measured(log_normal(500))
    assert found.mean.reason is None
    assert found.log_normal.geometric_mean.reason is None
    assert found.log_normal.geometric_sd.reason == "large_grains_dominate"
    assert found.gradistat.geometric.skewness.reason == "large_grains_dominate"


@pytest.mark.parametrize("weighting", ["number", "area"])
def test_one_figure_has_one_interval(weighting: str) -> None:
    found = measured(log_normal(1000), weighting)
    assert found.gradistat.arithmetic.mean == found.mean
    assert found.gradistat.geometric.mean == found.log_normal.geometric_mean
    assert found.gradistat.geometric.sorting == found.log_normal.geometric_sd


def test_sorting_has_an_interval_where_its_percentiles_do() -> None:
    few, many = (measured(log_normal(n)).folk_ward for n in (100, 2000))
    assert few is not None
    assert many is not None
    assert (few.sorting.low, few.sorting.reason) == (None, "too_few_coarser")
    assert many.sorting.reason is None
    by_number = measured(log_normal(60), "number").folk_ward
    assert by_number is not None
    assert by_number.sorting.reason is None


def test_by_number_the_tails_of_few_grains_have_none_either() -> None:
    found = measured(log_normal(20), "number").percentiles
    assert (found[5].reason, found[50].reason, found[95].reason) == ("too_few_finer", None, "too_few_coarser")


def test_phi_says_the_same() -> None:
    found = measured(log_normal(200))
    assert found.phi is not None
    assert {percent: each.reason for percent, each in found.phi.items()} == {
        percent: each.reason for percent, each in found.percentiles.items()
    }


def test_images_that_are_all_alike_have_narrow_intervals() -> None:
    image = np.repeat(np.arange(6), 50)
    sample = make_sample(np.tile(log_normal(50), 6), image=image)
    found = population(sample, "number", Resampling("image", 200), edge_correction=True)
    assert found.mean.low == pytest.approx(found.mean.value)
    assert found.percentiles[50].reason is None


def test_where_images_are_few_it_is_these_that_lack() -> None:
    random = np.random.default_rng(0)
    image = np.repeat(np.arange(3), 20)
    sample = make_sample(np.exp(random.normal(3, 0.6, 3)[image] + random.normal(0, 0.1, 60)), image=image)
    found = population(sample, "number", Resampling("image", 200), edge_correction=True)
    assert found.percentiles[95].reason == "too_few_images"


def test_without_resamples_nothing_is_said_to_lack() -> None:
    found = measured(log_normal(200), "number", Resampling("grain", 0))
    assert {each.reason for each in (found.mean, *found.percentiles.values())} == {None}


def test_grains_of_one_size_have_intervals_of_no_width() -> None:
    found = measured(np.full(100, 7.0), "number")
    assert (found.mean.low, found.mean.high) == (7.0, 7.0)
    assert (found.percentiles[50].low, found.percentiles[50].high) == (7.0, 7.0)
