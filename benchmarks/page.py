"""Puts results into pages of docs/, between marks that separate them from the page's own text."""

from __future__ import annotations

from pathlib import Path

from tools.problem import Problem


def put(page: Path, name: str, text: str) -> None:
    """Replaces the text between the marks of benchmarks/{name}.py by its results.

    Raises:
        Problem: the page has no such marks.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name}: written by benchmarks/{name}.py -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not begin or not end:
        raise Problem(f"{page} has no marks between which the results of {name} belong")
    page.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")
