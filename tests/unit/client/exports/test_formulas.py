from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grainserve.exports.formulas import neutralised, original

SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
TRICKY = st.text(st.sampled_from("".join(SIGNS) + "'\"',; a1|!") | st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", ["", " ", "'", "a,", "a;", "a\t", 'a"', '"', "a; '"])
def test_no_text_begins_a_cell_as_a_formula(sign: str, before: str) -> None:
    text = f"{before}{sign}cmd|' /C calc'!A0"
    assert neutralised(text) != text
    assert original(neutralised(text)) == text


@pytest.mark.parametrize(
    "text", ["", "quartz", "K-feldspar", "a+b", "a = b", "'quartz'", "mail@home", "5 µm, coarse", " "]
)
def test_other_texts_stay(text: str) -> None:
    assert neutralised(text) == text
    assert original(text) == text


@settings(deadline=None)
@given(TRICKY)
@example("''='=;\"-")
def test_what_was_neutralised_reads_back(text: str) -> None:
    assert original(neutralised(text)) == text


@settings(deadline=None)
@given(TRICKY, st.sampled_from(",;"), st.sampled_from(",;\t"))
@example("x;=1+1;y", ",", ";")
@example("\r", ",", "\t")
def test_no_cell_is_a_formula_wherever_the_table_is_opened(text: str, written: str, opened: str) -> None:
    # `write_csv` writes commas or semicolons. In a table written with tabs, the tab before a number can begin a cell.
    table = io.StringIO(newline="")
    csv.writer(table, delimiter=written).writerow([1, neutralised(text), 0.5])
    table.seek(0)
    for cell in (cell for row in csv.reader(table, delimiter=opened) for cell in row):
        assert not cell.lstrip(" ").startswith(SIGNS)
