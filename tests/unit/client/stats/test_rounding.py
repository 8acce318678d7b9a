from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainserve.results.rounding import ABSENT, number_text
from grainserve.stats.rounding import interval_decimals, interval_text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (41.237, 39.82, 42.61, "41.2 [39.8, 42.6]"),
        (1234.5, 1180.0, 1310.0, "1230 [1180, 1310]"),
        (0.93117, 0.92911, 0.93381, "0.9312 [0.9291, 0.9338]"),
        (-0.023, -0.12, 0.07, "−0.02 [−0.12, 0.07]"),
        (0.001, -0.2, 0.2, "0.00 [−0.20, 0.20]"),
        (-0.001, -0.2, 0.2, "0.00 [−0.20, 0.20]"),
        (12.345, None, None, "12.3"),
        (12345.6, None, None, "12346"),
        (5.0, 5.0, 5.0, "5.00"),
        (math.nan, 1.0, 2.0, ABSENT),
        (None, None, None, ABSENT),
    ],
)
def test_digits_follow_the_interval(value: float | None, low: float | None, high: float | None, text: str) -> None:
    assert interval_text(value, low, high) == text


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e5))
def test_rounding_moves_no_end_by_more_than_a_tenth_of_the_width(low: float, width: float) -> None:
    high = low + width
    decimals = interval_decimals(low, high)
    assert decimals is not None
    for end in (low, high):
        assert abs(float(number_text(end, decimals).replace("−", "-")) - end) <= 0.051 * width


def test_a_value_without_an_interval_says_why() -> None:
    assert interval_text(41.23, None, None, "too_few_coarser") == "41.2 [too few coarser]"
    assert interval_text(41.23, None, None) == "41.2"
