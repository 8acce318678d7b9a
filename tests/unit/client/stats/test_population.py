from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as reference

from grainserve.results.size_curve import size_curve
from grainserve.stats.bootstrap import Resampling
from grainserve.stats.interval import Interval
from grainserve.stats.population import PERCENTS, Population, phi, population
from tests.unit.client.stats.samples import make_sample

NONE = Resampling("grain", resamples=0)
SIZES = st.lists(st.floats(1, 1000), min_size=2, max_size=30)


def measured(sizes: object, weighting: str = "number", **options: object) -> Population:
    sample = make_sample(sizes, **options)  # type: ignore[arg-type]
    return population(sample, weighting, NONE, edge_correction=True)  # type: ignore[arg-type]


def normal_in_phi(mean: float, sd: float, n: int = 20_000) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns sizes in µm, evenly spaced in probability: their φ are as normal as n numbers can be."""
    return np.asarray(1000 * 2.0 ** -(mean + sd * reference.norm.ppf((np.arange(n) + 0.5) / n)))


def test_percentiles_are_those_of_the_one_curve() -> None:
    sizes = np.random.default_rng(0).lognormal(3, 0.5, 100)
    for weighting in ("number", "area"):
        curve = size_curve(sizes, np.pi / 4 * sizes**2, weighting)
        found = measured(sizes, weighting).percentiles
        assert {percent: size.value for percent, size in found.items()} == pytest.approx(
            {percent: curve.percentile(percent) for percent in PERCENTS}
        )


def test_other_percentiles_change_nothing_else() -> None:
    sample = make_sample(np.random.default_rng(0).lognormal(3, 0.5, 100))
    resampling = Resampling("grain", 50, seed=1)
    usual = population(sample, "area", resampling, edge_correction=True)
    found = population(sample, "area", resampling, edge_correction=True, percents=(10, 33.3, 50))
    assert list(found.percentiles) == [10, 33.3, 50]
    assert (found.percentiles[10], found.percentiles[50]) == (usual.percentiles[10], usual.percentiles[50])
    assert usual.percentiles[25].value < found.percentiles[33.3].value < usual.percentiles[50].value
    assert (found.folk_ward, found.log_normal, found.mean) == (usual.folk_ward, usual.log_normal, usual.mean)


def test_folk_and_ward_of_a_normal_distribution_are_its_mean_and_standard_deviation() -> None:
    found = measured(normal_in_phi(2.0, 0.4)).folk_ward
    assert found is not None
    z95, z84, z75 = (float(reference.norm.ppf(each)) for each in (0.95, 0.84, 0.75))
    assert found.mean.value == pytest.approx(2.0, abs=1e-3)
    assert found.sorting.value == pytest.approx(0.4 * (2 * z84 / 4 + 2 * z95 / 6.6), abs=1e-3)
    assert found.skewness.value == pytest.approx(0, abs=2e-3)
    assert found.kurtosis.value == pytest.approx(z95 / (2.44 * z75), abs=2e-3)
    assert (found.sorting_class, found.skewness_class, found.kurtosis_class) == (
        "well sorted",
        "nearly symmetrical",
        "mesokurtic",
    )


def test_a_tail_of_fine_grains_is_positive_skewness() -> None:
    coarse, fine = normal_in_phi(0, 0.3, 800), normal_in_phi(3, 0.5, 200)
    found = measured(np.concatenate([coarse, fine])).folk_ward
    assert found is not None
    assert found.skewness.value > 0.3
    assert found.skewness_class == "very positive-skewed"


def test_worked_example_of_folk_and_ward() -> None:
    """The percentiles are read off a curve through φ 5, 16, 25, 50, 75, 84, 95 = −1, 0, 0.5, 1.5, 2.25, 3, 5."""
    at = {0: -1.0, 5: -1.0, 16: 0.0, 25: 0.5, 50: 1.5, 75: 2.25, 84: 3.0, 95: 5.0, 100: 5.0}
    n = 20_000
    values = np.interp((np.arange(n) + 0.5) / n * 100, list(at), list(at.values()))
    found = measured(1000 * 2.0**-values).folk_ward
    assert found is not None
    assert found.mean.value == pytest.approx((0 + 1.5 + 3) / 3, abs=1e-3)
    assert found.sorting.value == pytest.approx(3 / 4 + 6 / 6.6, abs=1e-3)
    assert found.skewness.value == pytest.approx((3 - 3) / 6 + (4 - 3) / 12, abs=1e-3)
    assert found.kurtosis.value == pytest.approx(6 / (2.44 * 1.75), abs=1e-3)
    assert found.sorting_class == "poorly sorted"


def test_the_log_normal_fit_finds_what_was_drawn() -> None:
    found = measured(normal_in_phi(2.0, 0.5)).log_normal
    assert found.geometric_mean.value == pytest.approx(250, rel=1e-6)
    assert math.log2(found.geometric_sd.value) == pytest.approx(0.5, rel=1e-3)
    assert found.ks_distance < 1e-3


def test_ks_distance_is_scipys() -> None:
    sizes = np.random.default_rng(2).exponential(20, 80) + 1
    logs = np.log(sizes)
    expected = reference.kstest(logs, "norm", (logs.mean(), logs.std())).statistic
    assert measured(sizes).log_normal.ks_distance == pytest.approx(expected)


def test_area_weighted_log_normal_is_shifted_by_two_variances() -> None:
    """Hatch & Choate (1929): weighting by d² moves the mean of ln d by 2σ² and leaves σ."""
    sigma = 0.3
    found = measured(normal_in_phi(2.0, sigma / math.log(2), 200_000), "area").log_normal
    assert found.geometric_mean.value == pytest.approx(250 * math.exp(2 * sigma**2), rel=2e-3)
    assert math.log(found.geometric_sd.value) == pytest.approx(sigma, rel=5e-3)


def test_sizes_that_are_all_equal_have_no_skewness_and_no_fit() -> None:
    found = measured([250.0] * 5)
    assert found.folk_ward is not None
    assert found.folk_ward.mean.value == pytest.approx(2.0)
    assert found.folk_ward.sorting.value == 0
    assert math.isnan(found.folk_ward.skewness.value)
    assert found.folk_ward.skewness_class is None
    assert math.isnan(found.log_normal.ks_distance)


def test_without_a_scale_there_is_no_phi() -> None:
    found = measured([10.0, 20.0], unit="px")
    assert (found.phi, found.folk_ward, found.wentworth) == (None, None, None)
    assert found.percentiles[50].value == 15


def test_wentworth_shares_are_by_weight() -> None:
    sizes = [100.0, 125.0, 300.0, 300.0]  # very fine, fine (including its lower limit), medium, medium
    number, area = measured(sizes).wentworth, measured(sizes, "area").wentworth
    assert number is not None
    assert area is not None
    assert (number["very fine sand"], number["fine sand"], number["medium sand"]) == (0.25, 0.25, 0.5)
    assert area["medium sand"] == pytest.approx(18 / (1 + 1.25**2 + 18))
    assert sum(area.values()) == pytest.approx(1)


@given(SIZES, st.floats(0.1, 10))
def test_a_scale_scales_every_size_and_shifts_phi(sizes: list[float], scale: float) -> None:
    one, other = measured(sizes, "area"), measured(np.array(sizes) * scale, "area")
    assert one.phi is not None
    assert other.phi is not None
    for percent in PERCENTS:
        assert other.percentiles[percent].value == pytest.approx(one.percentiles[percent].value * scale)
        assert other.phi[percent].value == pytest.approx(one.phi[percent].value - math.log2(scale), abs=1e-9)
    assert one.folk_ward is not None
    assert other.folk_ward is not None
    assert other.folk_ward.sorting.value == pytest.approx(one.folk_ward.sorting.value, abs=1e-9)
    assert other.log_normal.geometric_sd.value == pytest.approx(one.log_normal.geometric_sd.value)


@given(SIZES, st.randoms())
def test_the_order_of_grains_does_not_matter(sizes: list[float], random: object) -> None:
    shuffled = list(sizes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = measured(sizes, "area"), measured(shuffled, "area")
    assert [each.value for each in other.percentiles.values()] == pytest.approx(
        [each.value for each in one.percentiles.values()]
    )
    assert other.mean.value == pytest.approx(one.mean.value)


@given(SIZES)
def test_grains_of_equal_area_weigh_alike_by_number_and_by_area(sizes: list[float]) -> None:
    sample = dataclasses.replace(make_sample(sizes), area=np.full(len(sizes), 7.0))
    number, area = (population(sample, each, NONE, edge_correction=True) for each in ("number", "area"))
    assert [each.value for each in area.percentiles.values()] == pytest.approx(
        [each.value for each in number.percentiles.values()]
    )


@given(SIZES)
def test_percentiles_rise_within_the_sizes(sizes: list[float]) -> None:
    values = [each.value for each in measured(sizes, "area").percentiles.values()]
    assert values == sorted(values)
    assert min(sizes) <= values[0] <= values[-1] <= max(sizes)


@given(SIZES)
def test_grains_that_are_there_twice_change_nothing_in_the_mean(sizes: list[float]) -> None:
    assert measured(sizes * 2).mean.value == pytest.approx(measured(sizes).mean.value)
    assert measured(sizes * 2).log_normal.geometric_sd.value == pytest.approx(
        measured(sizes).log_normal.geometric_sd.value
    )


def test_an_interval_on_a_falling_scale_swaps_its_ends() -> None:
    found = Interval(250.0, 125.0, 500.0).map(phi)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.0, 3.0))


# By hand ------------------------------------------------------------------------------------------------------------


def test_unless_asked_otherwise_nine_percentiles_are_told() -> None:
    assert list(measured([10.0, 20.0]).percentiles) == [5, 10, 16, 25, 50, 75, 84, 90, 95]


def test_two_grains_by_number_and_by_area() -> None:
    """10 and 20 µm: areas 1 : 4. Means 15 and (10 + 4·20)/5; means of ln d differ by (1/2 and 4/5) ln 2 from ln 10."""
    number, area = measured([20.0, 10.0]), measured([20.0, 10.0], "area")
    assert (number.weighting, area.weighting) == ("number", "area")
    assert (number.mean.value, area.mean.value) == pytest.approx((15, 18))
    assert number.log_normal.geometric_mean.value == pytest.approx(10 * math.sqrt(2))
    assert area.log_normal.geometric_mean.value == pytest.approx(10 * 2**0.8)
    assert number.log_normal.geometric_sd.value == pytest.approx(math.sqrt(2))
    assert area.log_normal.geometric_sd.value == pytest.approx(2**0.4)


def test_ks_distance_by_hand() -> None:
    """ln d is z = −1 and 1 by number: Φ is 0.1587 where the grains' curve steps from 0 to 0.5. By area, 1 : 4, z is
    −2 and 0.5: Φ is 0.6915 at the step from 0.2 to 1. With 4 : 1 it is 0.3085 at the step from 0 to 0.8."""
    assert measured([10.0, 20.0]).log_normal.ks_distance == pytest.approx(0.5 - 0.15866, abs=1e-5)
    assert measured([10.0, 20.0], "area").log_normal.ks_distance == pytest.approx(0.69146 - 0.2, abs=1e-5)
    turned = dataclasses.replace(make_sample([10.0, 20.0]), area=np.array([4.0, 1.0]))
    found = population(turned, "area", NONE, edge_correction=True)
    assert found.log_normal.ks_distance == pytest.approx(0.8 - 0.30854, abs=1e-5)


def test_a_tail_of_coarse_grains_is_negative_skewness() -> None:
    found = measured(np.concatenate([normal_in_phi(0, 0.3, 800), normal_in_phi(-3, 0.5, 200)])).folk_ward
    assert found is not None
    assert found.skewness.value < -0.3
    assert found.skewness_class == "very negative-skewed"


def test_each_measure_of_folk_and_ward_by_hand() -> None:
    """φ 5, 16, 25, 50, 75, 84, 95 = −1.5, −0.5, 0.25, 1, 2, 3.5, 5.5: no two differences are alike."""
    at = {0: -1.5, 5: -1.5, 16: -0.5, 25: 0.25, 50: 1.0, 75: 2.0, 84: 3.5, 95: 5.5, 100: 5.5}
    n = 20_000
    found = measured(1000 * 2.0 ** -np.interp((np.arange(n) + 0.5) / n * 100, list(at), list(at.values()))).folk_ward
    assert found is not None
    assert found.mean.value == pytest.approx(4 / 3, abs=1e-3)
    assert found.sorting.value == pytest.approx(4 / 4 + 7 / 6.6, abs=1e-3)
    assert found.skewness.value == pytest.approx(1 / 8 + 2 / 14, abs=1e-3)
    assert found.kurtosis.value == pytest.approx(7 / (2.44 * 1.75), abs=1e-3)
    assert found.kurtosis_class == "very leptokurtic"


class Drawn(Resampling):
    """A resampling with one given resample; it records each figure."""

    def intervals(self, estimate: Any, image: NDArray[np.int64], images: int) -> list[Interval]:
        return [Interval(float(value)) for value in estimate(np.arange(image.size) % 3.0)]


@given(SIZES.map(sorted))
def test_a_grain_drawn_twice_is_two_and_one_that_is_not_drawn_is_none(sizes: list[float]) -> None:
    drawn = population(make_sample(sizes), "area", Drawn("grain"), edge_correction=True)
    repeated = measured([size for index, size in enumerate(sizes) for _ in range(index % 3)], "area")
    one, other = drawn.gradistat.arithmetic, repeated.gradistat.arithmetic
    assert one.sorting.value == pytest.approx(other.sorting.value, abs=1e-6)
    assert one.kurtosis.value == pytest.approx(other.kurtosis.value, rel=1e-3, nan_ok=True)


def test_what_is_not_drawn_leaves_no_trace_in_the_percentiles() -> None:
    """From 1, 2, 3 and 10 µm, none, one, two and none are drawn: 1/6 is finer than 2 µm, and 2/3 than 3 µm."""
    drawn = population(make_sample([1.0, 2.0, 3.0, 10.0]), "number", Drawn("grain"), edge_correction=True)
    assert drawn.folk_ward is not None
    d16, d50, d84 = 2.0, 2 + (1 / 2 - 1 / 6) / (2 / 3 - 1 / 6), 3.0
    assert drawn.folk_ward.mean.value == pytest.approx((phi(d16) + phi(d50) + phi(d84)) / 3)


def test_where_a_resample_may_hold_no_grain_there_is_no_interval() -> None:
    """One of two images is empty: a quarter of the resamples hold only this image."""
    sample = dataclasses.replace(make_sample([10.0, 20.0, 30.0]), images=("full", "empty"), frames=np.full((2, 2), 1e9))
    found = population(sample, "number", Resampling("image", 50), edge_correction=True, percents=(50,))
    assert found.folk_ward is not None
    for each in (found.mean, found.percentiles[50], found.log_normal.geometric_sd, found.folk_ward.mean):
        assert (each.low, each.high, each.reason) == (None, None, "too_few_images")
    assert found.mean.value == 20.0


def test_the_same_grains_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else about them, such as their scale, has them measured anew."""
    drawn: list[int] = []
    draws = Resampling.draws

    def counted(self: Resampling, units: int) -> Iterator[NDArray[np.float64]]:
        drawn.append(units)
        return draws(self, units)

    monkeypatch.setattr(Resampling, "draws", counted)
    sample, how = make_sample(np.arange(11.0, 61.0)), Resampling("grain", resamples=50, seed=4711)
    first = population(sample, "number", how, edge_correction=False)
    before = len(drawn)
    assert population(sample, "number", how, edge_correction=False) is first
    assert len(drawn) == before > 0
    for asked, weighting, settings, percents in (
        (sample.moved(scale=2.0), "number", how, PERCENTS),
        (sample, "area", how, PERCENTS),
        (sample, "number", dataclasses.replace(how, seed=4712), PERCENTS),
        (sample, "number", how, (50,)),
    ):
        before = len(drawn)
        other = population(asked, weighting, settings, edge_correction=False, percents=percents)  # type: ignore[arg-type]
        assert other is not first
        assert len(drawn) > before
