"""Neutralises texts that a spreadsheet would run as formulas, and restores them.

Others choose the names of classes and images, and `=HYPERLINK(…)` in a cell runs for whoever opens the table. An
apostrophe in front makes the cell a text. Spreadsheets split lines at different signs by country, so a cell may also
start after a comma, a semicolon, a tab or a quote inside a text.
"""

from __future__ import annotations

import re

_BEGINS = r"(?:\A|(?<=[,;\t\r\n\"]))"
_FORMULA = r"(?=[ ']*[=+\-@＝＋－＠\t\r\n])"
"""Signs that start a formula in a cell, with their East Asian forms. Spaces and apostrophes may stand in front: a text
that already has an apostrophe gets another, so that removing one restores it."""

_BARE = re.compile(_BEGINS + _FORMULA)
_NEUTRALISED = re.compile(f"{_BEGINS}'{_FORMULA}")


def neutralised(text: str) -> str:
    """Returns a text with an apostrophe wherever a cell could start as a formula; other texts stay unchanged."""
    return _BARE.sub("'", text)


def original(text: str) -> str:
    """Restores a text that `neutralised` returned."""
    return _NEUTRALISED.sub("", text)
