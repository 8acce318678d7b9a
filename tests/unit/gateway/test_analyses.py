"""Statistics, reports, comparisons and files of samples over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.exports.formats import FORMATS
from grainserve.gateway import sample_images
from grainserve.gateway.service import Limits
from grainserve.jobs.markers import Ticket
from tests.unit.client.reports.test_sample import Page
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.sampled import discs, measured, sample
from tests.unit.gateway.test_jobs import failure

OWN = {"sampleId", "imageIds", "leftOut", "flags"}
"""What the gateway adds to the statistics."""


def stats(folder: Path, image_ids: list[str], gateway: Gateway, *options: str) -> dict[str, Any]:
    """Runs `grainserve stats --json` on the results that the gateway sends."""
    files = [folder / f"{image_id}.json" for image_id in image_ids]
    for file in files:
        file.write_bytes(gateway.ask("GET", f"/image-analysis?imageId={file.stem}").content)
    out = folder / "stats.txt"
    done = CliRunner().invoke(app, ["stats", *map(str, files), "--name", "sand", "--json", str(out), *options])
    assert done.exit_code == 0, done.output
    return dict(json.loads(out.read_text()))


@pytest.mark.parametrize(
    ("query", "options"),
    [("", []), ("?edgeCorrection=false", ["--no-edge-correction"]), ("?astm=all", ["--astm", "all"])],
)
def test_statistics_are_those_of_the_command_to_the_last_digit(
    gateway: Gateway, tmp_path: Path, query: str, options: list[str]
) -> None:
    images = [measured(gateway, discs(seed, um_per_px=2.5 + seed)) for seed in range(5)]
    answer = gateway.ask("GET", f"/samples/{sample(gateway, images)}/statistics{query}").json()
    assert answer["imageIds"] == images
    told = {name: value for name, value in answer.items() if name not in OWN}
    assert told == stats(tmp_path, images, gateway, *options)
    assert [float(percent) for percent in told["number"]["curve"]] == list(range(101))
    for each in (told["number"], told["area"]):
        for percent, found in each["percentiles"].items():
            assert each["curve"][percent] == found["value"]


def test_what_is_not_measured_is_left_out_and_said(gateway: Gateway) -> None:
    store = gateway.service.store
    done = measured(gateway, discs(1))
    waiting, failed, gone = (gateway.upload(png()) for _ in range(3))
    store.cancel(failed)
    made = sample(gateway, [waiting, done, failed, gone])
    gateway.ask("DELETE", f"/image-analysis?imageId={gone}")
    answer = gateway.ask("GET", f"/samples/{made}/statistics").json()
    assert (answer["imageIds"], len(answer["images"])) == ([done], 1)
    assert {each["imageId"]: each["why"] for each in answer["leftOut"]} == {
        waiting: "waiting",
        failed: "failed",
        gone: "missing",
    }
    assert "cancelled" in {each["why"]: each["message"] for each in answer["leftOut"]}["failed"]
    flag = next(each for each in answer["flags"] if each["name"] == "images_left_out")
    assert flag["words"].startswith("3 of 4 images of the sample are not in these numbers")
    page = Page(gateway.ask("GET", f"/samples/{made}/report").text)
    assert page.flags == [each["name"] for each in answer["flags"]], "the same as the report's, in its order"
    nothing = sample(gateway, [waiting])
    for path in ("statistics", "report", "export", "export?format=csv", "export?format=geojson"):
        assert failure(gateway.ask("GET", f"/samples/{nothing}/{path}"), 409) == "no_results"
