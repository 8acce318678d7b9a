"""Results in docs/, between marks, so that the page and its tables stay apart."""

from __future__ import annotations

from pathlib import Path

from tools.problem import Problem


def put(page: Path, name: str, text: str) -> None:
    """Puts what benchmarks/{name}.py found between its marks, in place of what was there.

    Raises:
        Problem: The page has no such marks.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name}: written by benchmarks/{name}.py -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not begin or not end:
        raise Problem(f"{page} has no marks between which the results of {name} belong")
    page.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")
