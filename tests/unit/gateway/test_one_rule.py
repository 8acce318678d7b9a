"""One image has one D_p: wherever it is told, over random results."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from rich.console import Console
from typer.testing import CliRunner

from grainserve import Result
from grainserve.cli.application import app
from grainserve.cli.output import print_result
from grainserve.results.rounding import number_text
from grainserve.stats import Summary
from tests.unit.client.reports.test_sample import Page
from tests.unit.gateway.conftest import Gateway
from tests.unit.gateway.sampled import discs, measured, sample

PERCENTS = (10, 50, 90)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize(("seed", "um_per_px"), [(1, None), (2, 0.0347), (3, 61.7)])
def test_one_image_has_one_d_p_wherever_it_is_told(
    gateway: Gateway, tmp_path: Path, seed: int, um_per_px: float | None, corrected: bool
) -> None:
    image_id = measured(gateway, discs(seed, um_per_px=um_per_px))
    made, query = sample(gateway, [image_id]), f"edgeCorrection={str(corrected).lower()}"
    answer = gateway.ask("GET", f"/image-analysis?imageId={image_id}")
    result = Result(answer.json())
    summary = result.statistics(edge_correction=corrected)
    exact = {each.weighting: [each.percentiles[p].value for p in PERCENTS] for each in (summary.number, summary.area)}

    file, out = tmp_path / "sand.json", tmp_path / "stats.txt"
    file.write_bytes(answer.content)
    option = [] if corrected else ["--no-edge-correction"]
    done = CliRunner().invoke(app, ["stats", str(file), "--json", str(out), *option], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for told in (
        json.loads(out.read_text()),
        gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=statistics&{query}").json(),
        gateway.ask("GET", f"/samples/{made}/statistics?{query}").json(),
    ):
        assert {name: [told[name]["percentiles"][str(p)]["value"] for p in PERCENTS] for name in exact} == exact
        assert {name: [told[name]["curve"][str(p)] for p in PERCENTS] for name in exact} == exact
    book = gateway.ask("GET", f"/samples/{made}/export?format=xlsx&{query}").content
    cells = in_workbook(book)
    for weighting, values in exact.items():
        assert cells[weighting] == pytest.approx(values, rel=1e-14), "openpyxl writes 16 digits"
    for weighting, values in exact.items():
        assert [result.percentile(p, weighting, edge_correction=corrected) for p in PERCENTS] == values

    texts = {name: [number_text(value) for value in values] for name, values in exact.items()}
    assert in_table(result, corrected) == texts
    assert in_figure(result, corrected) == texts
    report = Page(gateway.ask("GET", f"/samples/{made}/report?{query}").text)
    with_intervals = in_words(summary)
    assert {p: report.rows[f"D{p} ({summary.unit})"] for p in PERCENTS} == with_intervals
    printed = re.sub(r"\s+", " ", done.output)
    for p, words in with_intervals.items():
        for each in words:
            assert each in printed, f"D{p} of the command"


def in_table(result: Result, corrected: bool) -> dict[str, list[str]]:
    """Returns the D_p that `analyze` prints."""
    shown = io.StringIO()
    print_result(result, "sand", Console(file=shown, width=200), edge_correction=corrected)
    rows = re.findall(r"(number|area)-weighted \(\S+\)\s+(\S+)\s+(\S+)\s+(\S+)", shown.getvalue())
    return {name: values for name, *values in rows}


def in_figure(result: Result, corrected: bool) -> dict[str, list[str]]:
    """Returns the D_p of the legend of the size figure."""
    legend = result.plot(edge_correction=corrected).axes[1].get_legend()
    assert legend is not None
    found: dict[str, list[str]] = {}
    for each in legend.get_texts():
        name, _, values = each.get_text().partition("-weighted")
        found[name] = values.rpartition("= ")[2].split(" µm")[0].split(" px")[0].split(" / ")
    return found


def in_workbook(data: bytes) -> dict[str, list[Any]]:
    """Returns the D_p of the sheet of sizes."""
    rows = {row[0]: row for row in load_workbook(io.BytesIO(data))["sizes"].iter_rows(values_only=True)}
    return {"number": [rows[p][1] for p in PERCENTS], "area": [rows[p][6] for p in PERCENTS]}


def in_words(summary: Summary) -> dict[int, list[str]]:
    """Returns the D_p with their intervals, as reports and `stats` write them."""
    from grainserve.stats.rounding import interval_text  # noqa: PLC0415

    def text(weighting: str, percent: int) -> str:
        found = summary.population(weighting).percentiles[percent]  # type: ignore[arg-type]
        return interval_text(found.value, found.low, found.high, found.reason)

    return {p: [text("number", p), text("area", p)] for p in PERCENTS}
