"""Runs every line of docs/tutorial.md outside the repository's folder, with a real TorchServe and sam_tiny."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import sections
from tools.stack import ROOT, Stack

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
TRUTH = np.bincount(sections.section().labels.ravel())[1:]
TRUE_SIZES = np.sqrt(4 * TRUTH / np.pi) * sections.UM_PER_PX


def blocks(language: str) -> str:
    """Returns all code blocks of the page in a language."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


def run(command: list[str], folder: Path, stack: Stack) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **stack.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("PYTHONPATH", None)  # the page promises that an activated environment is enough, in any folder
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the page's commands have run."""
    folder = tmp_path_factory.mktemp("tutorial")
    run(["bash", "-euc", blocks("sh")], folder, stack)
    return folder


def test_the_commands_lead_to_a_distribution_that_holds_the_truth(folder: Path) -> None:
    summary = json.loads((folder / "sand_a.json").read_text(encoding="utf-8"))
    assert (summary["name"], summary["unit"], len(summary["images"])) == ("Sand A", "µm", 4)
    assert summary["edgeCorrection"]
    assert summary["used"] == summary["grains"] - summary["atEdge"]
    for percent in (10, 50, 90):
        found = summary["number"]["percentiles"][str(percent)]
        assert found["low"] <= np.percentile(TRUE_SIZES, percent) <= found["high"], percent
    page = (folder / "sand_a.html").read_text(encoding="utf-8")
    assert "Sand A" in page
    assert (folder / "tables" / "grains.parquet").is_file()


def test_python_gives_what_the_commands_give(folder: Path, stack: Stack) -> None:
    by_command = json.loads((folder / "sand_a.json").read_text(encoding="utf-8"))
    printed = run([sys.executable, "-c", blocks("python")], folder, stack)
    assert json.loads((folder / "sand_a.json").read_text(encoding="utf-8")) == by_command
    d50 = by_command["number"]["percentiles"]["50"]
    assert f"D50 by number: {d50['value']:.0f} µm, 95 % from {d50['low']:.0f} to {d50['high']:.0f}" in printed


def test_the_truth_that_the_page_names() -> None:
    d10, d50, d90 = np.percentile(TRUE_SIZES, (10, 50, 90))
    sizes = f"a D50 of {d50:.0f} µm, a D10 of {d10:.0f} µm and a D90 of {d90:.0f} µm"
    assert f"by number, its {TRUE_SIZES.size} grains have {sizes}" in " ".join(PAGE.split())
