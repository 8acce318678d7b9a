from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import put
from tools.problem import Problem


def test_results_take_the_place_of_the_former_ones(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- bias: written by benchmarks/bias.py -->\n<!-- bias: end -->\nbelow\n")
    put(page, "bias", "first")
    put(page, "bias", "a table\n")
    assert page.read_text() == (
        "above\n<!-- bias: written by benchmarks/bias.py -->\na table\n<!-- bias: end -->\nbelow\n"
    )
    with pytest.raises(Problem, match="speed"):
        put(page, "speed", "fast")
