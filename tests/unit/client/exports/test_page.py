"""docs/exports.md: its examples run, and its table has every format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.exports.formats import FORMATS
from tests.unit.client.made import make_image, make_result

PAGE = (Path(__file__).parents[4] / "docs" / "exports.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sand", "gravel"):
        for folder in ("results", "scans"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(make_result(um_per_px=2.5)))
        make_image().save(tmp_path / "scans" / f"{name}.png")
    for line in "".join(blocks("sh")).splitlines():
        done = CliRunner().invoke(app, line.split()[1:])
        assert done.exit_code == 0, done.output
    for block in blocks("python"):
        exec(compile(block, "docs/exports.md", "exec"), {})
    printed = capsys.readouterr().out
    for part in ("µm\n['sam_tiny']\npixel\n", "0001-grain", "uint16 4 2.5 µm", "True\n"):
        assert part in printed


def test_every_format_is_in_the_table() -> None:
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for name, form in FORMATS.items():
        assert f"`{name}`" in rows
        assert f"`NAME{form.ending}`" in rows
