from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from grainserve import Result
from grainserve.cli.output import print_result
from grainserve.results.rounding import number_text
from tests.unit.client.made import make_result


def printed(result: Result, *, edge_correction: bool = True) -> str:
    shown = io.StringIO()
    print_result(result, "sand", Console(file=shown, width=160), edge_correction=edge_correction)
    return shown.getvalue()


@pytest.mark.parametrize("corrected", [True, False])
def test_the_table_has_the_statistics_of_the_image_and_says_how_they_count_the_frame(corrected: bool) -> None:
    result = Result(make_result(um_per_px=2.0))
    text, summary = printed(result, edge_correction=corrected), result.statistics(edge_correction=corrected)
    for each in (summary.number, summary.area):
        row = re.search(rf"{each.weighting}-weighted.*", text)
        assert row is not None
        values = [*(each.percentiles[percent].value for percent in (10, 50, 90)), each.mean.value]
        assert row.group().split()[-4:] == [number_text(value) for value in values]
    assert ("weighted by 1/P (Miles–Lantuéjoul)" in text) == corrected
    assert ("no edge correction" in text) != corrected
    grains = [grain for grain in result.grains if not (corrected and grain.touches_edge)]
    counts = [count for count in result.stands_for(edge_correction=corrected) if count]
    axes = (
        np.average([grain.properties[f"{name}AxisLength_um"] for grain in grains], weights=counts)
        for name in ("major", "minor")
    )
    assert f"mean axes {' × '.join(map(number_text, axes))} µm" in text


def test_where_the_frame_cuts_every_grain_no_size_is_told_but_why() -> None:
    cut = np.zeros((60, 80), bool)
    cut[:10, :10] = True
    result = Result(make_result(masks=[cut]))
    assert "D50" not in printed(result)
    assert "leave the edge correction off" in " ".join(printed(result).split())
    assert "D50" in printed(result, edge_correction=False)
