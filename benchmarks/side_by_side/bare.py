"""The pipeline without TorchServe, timed in a process that does nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.launch import CALM
from tools.mar import ROOT
from tools.problem import Problem

PIPELINE = "benchmarks.side_by_side.pipeline"


def measure(image: Path, options: Mapping[str, Any], requests: int) -> dict[str, Any]:
    """Times the handler's three steps on one image.

    Args:
        image: the image file.
        options: options of the request.
        requests: number of timed requests.

    Returns:
        `seconds` of each request, torch's number of `threads`, the number of `objects` found.

    Raises:
        Problem: the process failed.
    """
    command = [sys.executable, "-m", PIPELINE, str(image), "--options", json.dumps(dict(options))]
    done = subprocess.run(
        [*command, "--requests", str(requests)],
        cwd=ROOT,
        env={**CALM, **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Problem(f"the pipeline fails without TorchServe too:\n{done.stderr.strip()}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
