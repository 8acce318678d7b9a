"""Every shell script of the project is clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.deploy.gce import FAKES
from tools.mar import ROOT

SCRIPTS = sorted([*(ROOT / "deploy").rglob("*.sh"), *FAKES.glob("*.sh"), ROOT / ".ci" / "run"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_script_is_clean(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--external-sources", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
