"""Scales as people type them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainserve.errors import InvalidOption
from grainserve.scale.typed import checked_scale, parse_length, parse_scale, scale_text


@pytest.mark.parametrize(
    ("text", "um_per_px"),
    [
        ("2.5", 2.5),
        ("2,5", 2.5),
        (" 2,5 µm/px ", 2.5),
        ("2.5 μm / px", 2.5),
        ("2.5um/px", 2.5),
        ("2.5 µm per pixel", 2.5),
        ("2,5 µm pro Pixel", 2.5),
        ("0.4 px/µm", 2.5),
        ("400 px/mm", 2.5),
        ("400 pixels per mm", 2.5),
        ("2500 nm/px", 2.5),
        ("1 mm = 400 px", 2.5),
        ("400 px = 1 mm", 2.5),
        ("1 px = 2,5 µm", 2.5),
        ("0,5 mm = 200 Pixel", 2.5),
        ("500 µm / 200 px", 2.5),
        ("1000 micrometers = 400 px", 2.5),
        ("1e-3 mm/px", 1.0),
        (".5", 0.5),
        ("1.234 µm/px", 1.234),
    ],
)
def test_what_people_type_is_understood(text: str, um_per_px: float) -> None:
    assert parse_scale(text) == pytest.approx(um_per_px, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "2.5 µm/px"),
        ("red", "0.4 px/µm"),
        ("2.5 µm", "1 mm = 412 px"),
        ("1 mm = 412", "1 mm = 412 px"),
        ("mm = 412 px", "1 mm = 412 px"),
        ("1 mm = px", "1 mm = 412 px"),
        ("2 mm/µm", "2.5 µm/px"),
        ("2 px/px", "2.5 µm/px"),
        ("2 furlong/px", "no unit"),
        ("0", "no scale"),
        ("0 px/µm", "no scale"),
        ("5 µm / 0 px", "no scale"),
        ("1e300 m/px", "no scale"),
        ("-2.5", "2.5 µm/px"),
        ("2.5.1", "2.5 µm/px"),
        ("1 mm = 2 px = 3 px", "2.5 µm/px"),
        ("9" * 101, "2.5 µm/px"),
        ("nan", "2.5 µm/px"),
        ("inf", "2.5 µm/px"),
        ("1,234 µm/px", "1.234 or 1234"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_ways_to_write_it(text: str, said: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_scale(text)
    assert said in str(refused.value)


@given(st.text(max_size=120))
def test_any_text_is_a_scale_or_refused(text: str) -> None:
    try:
        found = parse_scale(text)
    except InvalidOption:
        return
    assert checked_scale(found) == found


@given(st.floats(1.01e-6, 0.99e6), st.sampled_from([("µm", 1.0), ("nm", 1e-3), ("mm", 1e3), ("cm", 1e4)]))
def test_a_scale_means_the_same_in_every_way_to_write_it(um_per_px: float, unit: tuple[str, float]) -> None:
    name, um = unit
    for text in (
        f"{um_per_px / um!r} {name}/px",
        f"{um / um_per_px!r} px/{name}",
        f"{um_per_px / um * 7!r} {name} = 7 px",
        f"7 px = {um_per_px / um * 7!r} {name}",
    ):
        assert parse_scale(text) == pytest.approx(um_per_px, rel=1e-9)
        comma = text.replace(".", ",")
        if not re.search(r"\b\d{1,3},\d{3}\b", comma):  # three digits after a comma may be thousands
            assert parse_scale(comma) == pytest.approx(um_per_px, rel=1e-9)


@given(st.floats(1.00001e-6, 0.99999e6))
def test_what_is_echoed_is_understood_as_the_same(um_per_px: float) -> None:
    assert parse_scale(scale_text(um_per_px)) == pytest.approx(um_per_px, rel=1e-4)


@pytest.mark.parametrize(("text", "um"), [("500 µm", 500), ("0,5 mm", 500), ("2500nm", 2.5), ("1 inch", 25_400)])
def test_lengths(text: str, um: float) -> None:
    assert parse_length(text) == pytest.approx(um)


@pytest.mark.parametrize("text", ["", "500", "µm", "0 mm", "5 px", "-5 mm", "5 mm/px", "1e999 mm", "1,000 mm"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_length(text)
