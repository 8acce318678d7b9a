from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainserve.scale.error import bar_error, scale_error


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (None, None),
        ("given", None),
        ("OME-XML PhysicalSizeX", None),
        ("stage micrometer ± 0.5 %", 0.005),
        ("stage micrometer, ±0,5%", 0.005),
        ("PNG resolution tags, ± 2.5% by its bar", 0.025),
        ("scale bar, 200 px = 500 µm", 2**0.5 / 200),
        ("scale bar of 10 segments, 372.8 px = 100 mm", 2**0.5 / 372.8),
        ("scale bar, 200 px = 500 µm, ± 3 %", 0.03),
    ],
)
def test_a_source_tells_the_error(source: str | None, error: float | None) -> None:
    assert scale_error(source) == (None if error is None else pytest.approx(error))


@given(st.floats(24, 1e4))
def test_a_bar_of_twice_the_pixels_is_twice_as_good(length: float) -> None:
    assert bar_error(2 * length) == pytest.approx(bar_error(length) / 2)
