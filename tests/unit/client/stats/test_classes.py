from __future__ import annotations

import math

import numpy as np
import pytest

from grainserve.stats.classes import kurtosis_class, skewness_class, sorting_class, wentworth, wentworth_shares


@pytest.mark.parametrize(
    ("millimetres", "name"),
    [
        (0.001, "clay"),
        (0.01, "silt"),
        (0.0625, "very fine sand"),
        (0.2, "fine sand"),
        (0.3, "medium sand"),
        (0.5, "coarse sand"),
        (1.5, "very coarse sand"),
        (3.0, "granule"),
        (4.0, "pebble"),
        (63.9, "pebble"),
        (100.0, "cobble"),
        (256.0, "boulder"),
    ],
)
def test_wentworth(millimetres: float, name: str) -> None:
    assert wentworth(millimetres) == name


@pytest.mark.parametrize(
    ("sorting", "name"),
    [
        (0.2, "very well sorted"),
        (0.4, "well sorted"),
        (0.6, "moderately sorted"),
        (0.9, "moderately sorted"),
        (1.5, "poorly sorted"),
        (3.0, "very poorly sorted"),
        (4.5, "extremely poorly sorted"),
    ],
)
def test_sorting(sorting: float, name: str) -> None:
    assert sorting_class(sorting) == name


@pytest.mark.parametrize(
    ("skewness", "name"),
    [
        (-0.5, "very negative-skewed"),
        (-0.2, "negative-skewed"),
        (0.0, "nearly symmetrical"),
        (0.2, "positive-skewed"),
        (0.5, "very positive-skewed"),
    ],
)
def test_skewness(skewness: float, name: str) -> None:
    assert skewness_class(skewness) == name


@pytest.mark.parametrize(
    ("kurtosis", "name"),
    [
        (0.5, "very platykurtic"),
        (0.8, "platykurtic"),
        (1.0, "mesokurtic"),
        (1.3, "leptokurtic"),
        (2.0, "very leptokurtic"),
        (4.0, "extremely leptokurtic"),
    ],
)
def test_kurtosis(kurtosis: float, name: str) -> None:
    assert kurtosis_class(kurtosis) == name


def test_what_is_not_defined_has_no_name() -> None:
    assert skewness_class(math.nan) is None


BETWEEN = {  # φ of the limit of two classes (Wentworth 1922 in Krumbein's scale): d = 2^−φ mm
    8: ("clay", "silt"),
    4: ("silt", "very fine sand"),
    3: ("very fine sand", "fine sand"),
    2: ("fine sand", "medium sand"),
    1: ("medium sand", "coarse sand"),
    0: ("coarse sand", "very coarse sand"),
    -1: ("very coarse sand", "granule"),
    -2: ("granule", "pebble"),
    -6: ("pebble", "cobble"),
    -8: ("cobble", "boulder"),
}


@pytest.mark.parametrize("phi", BETWEEN)
def test_classes_of_wentworth_meet_at_whole_phi(phi: int) -> None:
    limit = 2.0**-phi
    assert (wentworth(limit * (1 - 1e-9)), wentworth(limit)) == BETWEEN[phi]


def test_every_class_of_wentworth_has_its_share() -> None:
    limits = [2.0**-phi for phi in BETWEEN]
    sizes = np.array([limits[0] / 2, *limits])  # one in each class
    weights = np.arange(1.0, 12)
    assert list(wentworth_shares(sizes, weights).values()) == pytest.approx(weights / 66)


def test_a_limit_of_folk_and_ward_belongs_to_the_lower_class() -> None:
    """Their upper limits are "under 0.35 very well sorted, 0.35 to 0.50 well sorted, …"."""
    for limits, named, names in (
        ((0.35, 0.50, 1.00, 2.00, 4.00), sorting_class, 6),
        ((-0.30, -0.10, 0.10, 0.30), skewness_class, 5),
        ((0.67, 0.90, 1.11, 1.50, 3.00), kurtosis_class, 6),
    ):
        below = [named(limit - 1e-9) for limit in limits]
        above = [named(limit + 1e-9) for limit in limits]
        assert below[1:] == above[:-1]
        assert len({*below, *above}) == names
        assert [named(limit) for limit in limits] == below
