"""Comparison with GrainSizeTools' own numbers on the same sections, and with sections of known spheres."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from grainserve.errors import InvalidOption
from grainserve.stats.stereology import saltykov, section_share, two_step


def sections() -> NDArray[np.float64]:
    """Returns 400 sizes with the quantiles of a log-normal distribution."""
    return np.asarray(40 * np.exp(0.5 * norm.ppf((np.arange(400) + 0.5) / 400)))


def test_sections_of_a_sphere_are_smaller_than_half_of_it_in_one_case_of_seven() -> None:
    """A plane misses the sphere's centre by more than √(1 − ¼) of the radius with the probability 1 − √¾."""
    assert float(section_share(2.0, 0.0, 1.0)) == pytest.approx(1 - np.sqrt(3) / 2)
    assert float(section_share(2.0, 0.0, 2.0)) == 1


def test_saltykov_is_grain_size_tools_own() -> None:
    """The reference is its `Saltykov(diameters, numbins=10)`."""
    found = saltykov(sections(), 10)
    middles = np.array(found.edges[:-1]) + found.edges[1] / 2
    assert middles[[0, -1]] == pytest.approx([9.06860002931857, 172.30340055705284])
    assert found.shares == pytest.approx(
        [0, 0.342268, 0.346903, 0.175657, 0.078856, 0.030977, 0.014465, 0.005326, 0.001842, 0.003706], abs=1e-6
    )
    assert np.array(found.finer_by_volume) * 100 == pytest.approx(
        [0, 3.1242, 17.784, 38.1529, 57.5873, 71.5263, 82.2703, 88.3474, 91.4075, 100], abs=1e-4
    )


def test_the_two_step_method_is_grain_size_tools_own() -> None:
    """The reference is its `calc_shape(diameters)`."""
    found = two_step(sections())
    assert found is not None
    assert found.bins == 10
    assert (found.shape, found.geometric_mean) == pytest.approx((1.58226718, 43.59720343), rel=1e-5)
    assert (found.shape_error, found.geometric_mean_error) == pytest.approx((0.00481373, 0.12270549), rel=1e-3)


def test_sections_of_equal_spheres_unfold_to_the_last_bin() -> None:
    """For a sphere of diameter 1, the share of sections up to d is 1 − √(1 − d²)."""
    rank = (np.arange(20_000) + 0.5) / 20_000
    found = saltykov(np.sqrt(1 - (1 - rank) ** 2), 10)
    assert found.shares[-1] > 0.9
    assert found.shares_per_volume[-1] > 0.85
    assert sum(found.shares) == pytest.approx(1)


def test_numbers_per_volume_count_small_spheres_that_a_section_misses() -> None:
    """There are equally many spheres of 1 and of 4: a plane cuts four large ones for each small one."""
    rank = (np.arange(20_000) + 0.5) / 20_000
    chord = np.sqrt(1 - (1 - rank) ** 2)
    found = saltykov(np.concatenate([chord[::4], 4 * chord]), 20)
    small = sum(found.shares[:6]), sum(found.shares_per_volume[:6])
    assert small[0] < 0.4
    assert small[1] == pytest.approx(0.5, abs=0.1)


def test_a_weight_is_a_number_of_sections() -> None:
    sizes, times = sections()[::20], np.arange(1, 21)
    one, other = saltykov(sizes, 6, times.astype(float)), saltykov(np.repeat(sizes, times), 6)
    assert one.shares == pytest.approx(other.shares)


def test_one_bin_unfolds_nothing() -> None:
    with pytest.raises(InvalidOption, match="1 bins unfold nothing"):
        saltykov(sections(), 1)


def test_equal_sizes_have_no_log_normal_distribution() -> None:
    assert two_step(np.full(10, 3.0)) is None


@pytest.mark.parametrize(
    ("spread", "off", "off_per_volume"), [(1.3, 0.00, -0.05), (1.6, 0.09, -0.04), (1.9, 0.20, -0.07)]
)
def test_mean_diameters_are_off_by_what_the_documents_say(spread: float, off: float, off_per_volume: float) -> None:
    """There are ten draws of 5000 sections. Planes hit spheres in proportion to diameter, which shifts ln D by σ²."""
    sigma = np.log(spread)
    found = []
    for seed in range(10):
        random = np.random.default_rng(seed)
        cut = np.exp(np.log(100) + sigma**2 + sigma * random.standard_normal(5000))
        unfolded = saltykov(cut * np.sqrt(1 - random.random(5000) ** 2), 15)
        middles = np.array(unfolded.edges[:-1]) + unfolded.edges[1] / 2
        found.append((middles @ unfolded.shares, middles @ unfolded.shares_per_volume))
    true = 100 * np.exp(sigma**2 / 2)
    assert np.mean(found, axis=0) / true - 1 == pytest.approx([off, off_per_volume], abs=0.02)
