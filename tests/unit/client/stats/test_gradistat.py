"""Comparison with GRADISTAT's own numbers on the same grains, and with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from grainserve.stats.bootstrap import Resampling
from grainserve.stats.gradistat import Gradistat
from grainserve.stats.gradistat.measures import geometric_of, logarithmic_of, moments
from grainserve.stats.gradistat.modes import LEAST_PROMINENCE, modes
from grainserve.stats.gradistat.texture import CLASSES, textural_group
from grainserve.stats.interval import Interval
from grainserve.stats.population import population
from tests.unit.client.stats.samples import make_sample

NONE = Resampling("grain", resamples=0)

# Five sieve classes on which GRADISTAT 9.1 was run: limits in µm, and shares in units of 5 %.
LIMITS = np.array([250.0, 355.0, 500.0, 710.0, 1000.0, 1400.0])
TIMES = (3, 5, 6, 4, 2)


def described(sizes: object, weighting: str = "number", **options: object) -> Gradistat:
    sample = make_sample(sizes, **options)  # type: ignore[arg-type]
    return population(sample, weighting, NONE, edge_correction=True).gradistat  # type: ignore[arg-type]


def values(measures: object) -> tuple[float, float, float, float]:
    each = [getattr(measures, name).value for name in ("mean", "sorting", "skewness", "kurtosis")]
    return (each[0], each[1], each[2], each[3])


def test_arithmetic_moments_are_gradistats_own() -> None:
    found = described(np.repeat((LIMITS[:-1] + LIMITS[1:]) / 2, TIMES)).arithmetic
    assert values(found) == pytest.approx((624.75, 262.897199, 0.800024, 2.827894), abs=1e-5)
    assert (found.mean_class, found.sorting_class, found.skewness_class) == (None, None, None)


def test_geometric_and_logarithmic_moments_are_gradistats_own() -> None:
    found = described(np.repeat(np.sqrt(LIMITS[:-1] * LIMITS[1:]), TIMES))
    assert values(found.geometric) == pytest.approx((565.234825, 1.511053, 0.104357, 2.134044), abs=1e-5)
    assert values(found.logarithmic) == pytest.approx((0.823078, 0.595554, -0.104357, 2.134044), abs=1e-5)
    for each in (found.geometric, found.logarithmic):
        assert each is not None
        assert (each.mean_class, each.sorting_class, each.skewness_class, each.kurtosis_class) == (
            "coarse sand",
            "moderately well sorted",
            "symmetrical",
            "platykurtic",
        )


def test_folk_and_ward_of_a_known_curve_in_both_scales() -> None:
    """The percentiles are read off a curve through φ 5, 16, 25, 50, 75, 84, 95 = −1, 0, 0.5, 1.5, 2.25, 3, 5."""
    at = {0: -1.0, 5: -1.0, 16: 0.0, 25: 0.5, 50: 1.5, 75: 2.25, 84: 3.0, 95: 5.0, 100: 5.0}
    n = 20_000
    phis = np.interp((np.arange(n) + 0.5) / n * 100, list(at), list(at.values()))
    found = described(1000 * 2.0**-phis)
    mean, sorting, skewness, kurtosis = 1.5, 3 / 4 + 6 / 6.6, 1 / 12, 6 / (2.44 * 1.75)
    assert values(found.folk_ward_logarithmic) == pytest.approx((mean, sorting, skewness, kurtosis), abs=1e-3)
    assert values(found.folk_ward_geometric) == pytest.approx(
        (1000 * 2**-mean, 2**sorting, -skewness, kurtosis), rel=2e-3
    )
    assert found.folk_ward_geometric is not None
    assert found.folk_ward_geometric.mean_class == "medium sand"
    assert found.folk_ward_geometric.sorting_class == "poorly sorted"


def test_moments_are_those_of_scipy_where_grains_weigh_alike() -> None:
    sizes = np.random.default_rng(1).lognormal(3, 0.6, 200)
    found = moments(sizes, np.full(200, 0.3))
    assert found == pytest.approx(
        [sizes.mean(), sizes.std(), reference.skew(sizes), reference.kurtosis(sizes, fisher=False)]
    )


@given(st.lists(st.tuples(st.floats(1, 1000), st.integers(1, 5)), min_size=1, max_size=20))
def test_a_weight_is_a_number_of_equal_grains(grains: list[tuple[float, int]]) -> None:
    sizes, times = np.array([size for size, _ in grains]), np.array([count for _, count in grains])
    repeated = np.repeat(sizes, times)
    one, other = moments(sizes, times.astype(float)), moments(repeated, np.ones(repeated.size))
    assert one[:2] == pytest.approx(other[:2], abs=1e-9)
    if other[1] > 1e-6:
        assert one[2:] == pytest.approx(other[2:], rel=1e-6, abs=1e-6)


def test_equal_sizes_are_perfectly_sorted_and_have_one_mode() -> None:
    found = described([250.1] * 7)
    assert (found.geometric.sorting.value, found.geometric.sorting_class) == (1, "very well sorted")
    assert math.isnan(found.geometric.skewness.value)
    assert (found.geometric.skewness_class, found.geometric.kurtosis_class) == (None, None)
    assert found.spread.trask_sorting.value == 1
    assert (found.modes.bandwidth, len(found.modes.peaks)) == (0, 1)
    assert found.modes.peaks[0].size == pytest.approx(250.1)


def test_spread_of_percentiles_read_off_a_line() -> None:
    """1, 2, …, 100 µm: D_p = p + 0.5 with Hazen's plotting position."""
    found = described(np.arange(1.0, 101.0)).spread
    assert found.d90_over_d10.value == pytest.approx(90.5 / 10.5)
    assert found.d90_minus_d10.value == pytest.approx(80)
    assert found.d75_over_d25.value == pytest.approx(75.5 / 25.5)
    assert found.d75_minus_d25.value == pytest.approx(50)
    assert found.trask_sorting.value == pytest.approx(math.sqrt(75.5 / 25.5))


def test_intervals_are_given_and_hold_the_value() -> None:
    sizes = np.random.default_rng(3).lognormal(5, 0.5, 300)
    found = population(make_sample(sizes), "number", Resampling("grain", 100, seed=1), edge_correction=True).gradistat
    assert found.logarithmic is not None
    for each in (found.geometric.mean, found.logarithmic.sorting, found.spread.d90_over_d10):
        assert each.low is not None
        assert each.high is not None
        assert each.low < each.value < each.high


@pytest.mark.parametrize(
    ("sorting", "words"),
    [
        (1.1, "very well sorted"),
        (1.3, "well sorted"),
        (1.5, "moderately well sorted"),
        (1.8, "moderately sorted"),
        (3.0, "poorly sorted"),
        (8.0, "very poorly sorted"),
        (17.0, "extremely poorly sorted"),
    ],
)
def test_words_for_sorting_are_the_same_in_both_scales(sorting: float, words: str) -> None:
    zero = Interval(0.0)
    in_logs = geometric_of([zero, Interval(math.log(sorting)), zero, zero], "moments", scaled=True)
    in_phi = logarithmic_of([zero, Interval(math.log2(sorting)), zero, zero], "moments")
    assert (in_logs.sorting_class, in_phi.sorting_class) == (words, words)


@pytest.mark.parametrize(
    ("method", "skewness", "words"),
    [
        ("moments", -1.4, "very fine skewed"),
        ("moments", -1.0, "fine skewed"),
        ("moments", 0.4, "symmetrical"),
        ("moments", 1.0, "coarse skewed"),
        ("moments", 1.4, "very coarse skewed"),
        ("folk-ward", -0.4, "very fine skewed"),
        ("folk-ward", -0.2, "fine skewed"),
        ("folk-ward", 0.05, "symmetrical"),
        ("folk-ward", 0.2, "coarse skewed"),
        ("folk-ward", 0.4, "very coarse skewed"),
    ],
)
def test_a_tail_of_coarse_grains_is_coarse_skewed_in_both_scales(method: str, skewness: float, words: str) -> None:
    one = Interval(1.0)
    in_logs = geometric_of([one, one, Interval(skewness), one], method, scaled=True)  # type: ignore[arg-type]
    in_phi = logarithmic_of([one, one, Interval(-skewness), one], method)  # type: ignore[arg-type]
    assert (in_logs.skewness_class, in_phi.skewness_class) == (words, words)


@pytest.mark.parametrize(
    ("method", "kurtosis", "words"),
    [
        ("moments", 1.5, "very platykurtic"),
        ("moments", 2.0, "platykurtic"),
        ("moments", 3.0, "mesokurtic"),
        ("moments", 5.0, "leptokurtic"),
        ("moments", 8.0, "very leptokurtic"),
        ("folk-ward", 0.6, "very platykurtic"),
        ("folk-ward", 0.8, "platykurtic"),
        ("folk-ward", 1.0, "mesokurtic"),
        ("folk-ward", 1.3, "leptokurtic"),
        ("folk-ward", 2.0, "very leptokurtic"),
        ("folk-ward", 3.5, "extremely leptokurtic"),
    ],
)
def test_words_for_kurtosis(method: str, kurtosis: float, words: str) -> None:
    one = Interval(1.0)
    measured = [one, one, one, Interval(kurtosis)]
    assert geometric_of(measured, method, scaled=True).kurtosis_class == words  # type: ignore[arg-type]
    assert logarithmic_of(measured, method).kurtosis_class == words  # type: ignore[arg-type]


def normal_logs(mean: float, sd: float, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Returns logarithms of sizes, evenly spaced in probability."""
    return np.asarray(mean + sd * reference.norm.ppf((np.arange(n) + 0.5) / n))


def test_the_mode_of_log_size_of_a_log_normal_is_its_median() -> None:
    logs = normal_logs(math.log(200), 0.4, 1000)
    found = modes(logs, np.ones(logs.size))
    assert len(found.peaks) == 1
    assert found.peaks[0].size == pytest.approx(200, rel=5e-3)
    assert found.peaks[0].height == 1
    assert found.bandwidth == pytest.approx(logs.std(ddof=1) * (logs.size * 3 / 4) ** -0.2 / math.log(2))


def test_the_kernel_of_weighted_grains_is_as_wide_as_of_the_number_they_are_worth() -> None:
    logs = normal_logs(3, 0.4, 500)
    weights = np.exp(2 * logs)
    share = weights / weights.sum()
    worth = 1 / (share**2).sum()
    variance = (share * (logs - (share * logs).sum()) ** 2).sum() / (1 - 1 / worth)
    assert modes(logs, weights).bandwidth == pytest.approx(math.sqrt(variance) * (worth * 3 / 4) ** -0.2 / math.log(2))


def test_modes_are_told_by_height_and_no_more_than_three() -> None:
    """Of four log-normal populations far apart, the three with most grains are reported."""
    parts = {100.0: 1000, 10_000.0: 3000, 1_000_000.0: 500, 100_000_000.0: 2000}
    logs = np.sort(np.concatenate([normal_logs(math.log(size), 0.5, n) for size, n in parts.items()]))
    found = modes(logs, np.ones(logs.size))
    assert [each.size for each in found.peaks] == pytest.approx([10_000, 100_000_000, 100], rel=0.05)
    assert [each.height for each in found.peaks] == pytest.approx([1, 2 / 3, 1 / 3], rel=0.05)


def test_a_few_grains_beside_the_others_are_no_mode() -> None:
    share = LEAST_PROMINENCE / 4
    logs = np.concatenate([normal_logs(0, 0.3, 2000), normal_logs(4, 0.3, round(2000 * share))])
    assert len(modes(np.sort(logs), np.ones(logs.size)).peaks) == 1


@pytest.mark.parametrize(
    ("gravel", "sand", "mud", "group"),
    [
        (0.9, 0.1, 0.0, "gravel"),
        (0.5, 0.1, 0.4, "muddy gravel"),
        (0.5, 0.01, 0.49, "muddy gravel"),
        (0.5, 0.3, 0.2, "muddy sandy gravel"),
        (0.5, 0.49, 0.01, "sandy gravel"),
        (0.2, 0.3, 0.5, "gravelly mud"),
        (0.2, 0.05, 0.75, "gravelly mud"),
        (0.2, 0.5, 0.3, "gravelly muddy sand"),
        (0.2, 0.79, 0.01, "gravelly sand"),
        (0.02, 0.03, 0.95, "slightly gravelly mud"),
        (0.02, 0.4, 0.58, "slightly gravelly sandy mud"),
        (0.02, 0.6, 0.38, "slightly gravelly muddy sand"),
        (0.02, 0.97, 0.01, "slightly gravelly sand"),
        (0.0, 0.05, 0.95, "mud"),
        (0.0, 0.4, 0.6, "sandy mud"),
        (0.0, 0.6, 0.4, "muddy sand"),
        (0.00009, 0.99991, 0.0, "sand"),
        (1.0, 0.0, 0.0, "gravel"),
    ],
)
def test_every_textural_group_of_folk(gravel: float, sand: float, mud: float, group: str) -> None:
    assert textural_group(gravel, sand, mud) == group


def test_texture_is_by_weight_and_classes_are_one_phi_wide() -> None:
    assert [math.log2(limit) for _, limit in CLASSES[:-1]] == list(range(-9, 11))
    found = described([50.0, 63.0, 1500.0, 2000.0], "area").texture
    assert found is not None
    whole = 50**2 + 63**2 + 1500**2 + 2000**2
    assert found.gravel == pytest.approx(2000**2 / whole)
    assert found.classes["very fine gravel"] == found.gravel  # a class includes its lower limit
    assert found.classes["very coarse sand"] == pytest.approx(1500**2 / whole)
    assert (found.classes["very fine sand"], found.classes["very coarse silt"]) == pytest.approx(
        (63**2 / whole, 50**2 / whole)
    )
    assert found.mud == found.classes["very coarse silt"]
    assert found.gravel + found.sand + found.mud == pytest.approx(1)
    assert found.group == "sandy gravel"


def test_without_a_scale_there_is_no_phi_and_no_class() -> None:
    found = described([10.0, 20.0, 40.0], unit="px")
    assert (found.logarithmic, found.folk_ward_geometric, found.folk_ward_logarithmic, found.texture) == (None,) * 4
    assert found.geometric.mean.value == pytest.approx(20)
    assert found.geometric.mean_class is None
    assert found.geometric.sorting_class == "moderately sorted"  # exp(ln 2 √(2/3)) = 1.76
