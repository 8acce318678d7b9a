from __future__ import annotations

import math

import pytest

from grainserve.stats.classes import kurtosis_class, skewness_class, sorting_class, wentworth


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
