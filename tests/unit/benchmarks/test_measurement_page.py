"""docs/measurement.md quotes the measured figures."""

from __future__ import annotations

import json

from benchmarks import bias, measuring
from benchmarks.shapes import Shape
from grainserve.contract import schema


def test_the_page_has_the_tables_of_the_results() -> None:
    assert bias.tables(json.loads(bias.RESULTS.read_text())) in bias.PAGE.read_text()


def test_the_page_has_the_table_of_the_times() -> None:
    results = json.loads(measuring.RESULTS.read_text())
    assert measuring.table(results["scenes"]) in measuring.PAGE.read_text()
    for scene in results["scenes"].values():
        # The times are comparable only if both measured the same.
        assert scene["largest_relative_difference"] < 1e-9
        assert scene["median"]["all"]["processor_ms"] < measuring.BUDGET_MS


def test_the_page_defines_every_key() -> None:
    page = bias.PAGE.read_text()
    keys = schema("result")["$defs"]["properties"]["properties"]
    assert not [key for key in keys if f"`{key}`" not in page]


def test_a_shape_measured_now_lies_among_those_measured() -> None:
    found = json.loads(bias.RESULTS.read_text())["by_size"]
    (large,) = (row["errors"] for row in found if (row["form"], row["diameter"]) == ("ellipse 2 : 1", 100))
    now = bias.errors(Shape("ellipse", 100, 2, 15), 0.2, 0.1)
    assert now.keys() == large.keys()
    assert all(abs(now[key] - each["bias"]) < 0.05 + 4 * each["scatter"] for key, each in large.items())
