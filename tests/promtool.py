"""Prometheus' own tool, which checks rules and runs them on made-up series."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str, folder: Path) -> None:
    """Runs promtool (or the one that PROMTOOL names) in a folder; without it, the test is skipped."""
    tool = shutil.which(os.environ.get("PROMTOOL", "promtool"))
    if tool is None:
        pytest.skip("there is no promtool (Debian: package prometheus): rules and queries are not tried out")
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
