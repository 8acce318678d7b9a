"""Texts that a spreadsheet would take for formulas: neutralised in files, and read back.

A class or the name of an image is what somebody else wrote, and `=HYPERLINK(…)` in a cell runs for whoever opens the
table. An apostrophe in front makes it a text. A spreadsheet of another country cuts a line at other signs, so a cell
may also begin behind a comma, a semicolon, a tab or a quote inside of a text.
"""

from __future__ import annotations

import re

_BEGINS = r"(?:\A|(?<=[,;\t\r\n\"]))"
_FORMULA = r"(?=[ ']*[=+\-@＝＋－＠\t\r\n])"
"""The signs that begin a formula in a cell, those of East Asian keyboards among them. Apostrophes are stepped over: a
text that has one gets another, which can be told and taken away again."""

_BARE = re.compile(_BEGINS + _FORMULA)
_NEUTRALISED = re.compile(f"{_BEGINS}'{_FORMULA}")


def neutralised(text: str) -> str:
    """The text with an apostrophe wherever a cell could begin as a formula; any other text as it is."""
    return _BARE.sub("'", text)


def original(text: str) -> str:
    """The text that `neutralised` made this one of."""
    return _NEUTRALISED.sub("", text)
