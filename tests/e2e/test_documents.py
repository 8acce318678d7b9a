"""Runs the commands of README and docs/http.md unchanged, with a real TorchServe and a real gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from grainserve import Client, Result
from tests.documents import README, commands
from tools import ports
from tools.gateway import Gateway
from tools.stack import ROOT, Stack
from training.synthetic import synthesize

TRUTH = synthesize(np.random.default_rng(11), "matrix", 160, 200, grain_px=40)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt-get install curl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's folder: an image, a folder of images with their scale in the file, and curl's settings."""
    Image.fromarray(TRUTH.image).save(tmp_path / "image.jpg", quality=95)
    (tmp_path / "scans").mkdir()
    tifffile.imwrite(
        tmp_path / "scans" / "field.tif", TRUTH.image, imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"}
    )
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def gateway(stack: Stack, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway at the stack's bucket that dispatches."""
    port = ports.choose_free(1)[0]
    with Gateway(stack.environment, port=port, log=tmp_path / "gateway.log") as running:
        yield running


def run(line: str, folder: Path, environment: Mapping[str, str], addresses: Mapping[str, str]) -> str:
    """Runs a line of a page with the addresses of the test's servers; returns its output."""
    for written, there in addresses.items():
        line = line.replace(written, there)
    settings = {
        **os.environ,
        **environment,
        "CURL_HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", "-euc", line], cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@needs_curl
def test_the_readme_s_commands_run(stack: Stack, folder: Path) -> None:
    addresses = {"http://127.0.0.1:8080": stack.environment["GRAINSERVE_TORCHSERVE"]}
    printed = [
        run(each.line, folder, stack.environment, addresses)
        for each in commands(README)
        if each.words[0] in ("grainserve", "curl")
    ]
    answers = [json.loads(each) for each in printed if each.startswith("{")]
    assert [bool(answer["segmentedObjects"]) for answer in answers] == [True]
    by_command = Result.from_json(folder / "results" / "image.json")
    assert by_command.um_per_px == 2.5
    assert len(by_command.grains) == len(answers[0]["segmentedObjects"])
    assert Result.from_json(folder / "results" / "field.json").um_per_px == 2.0
    assert "Sand A" in (folder / "sand_a.html").read_text(encoding="utf-8")


@needs_curl
@pytest.mark.usefixtures("environment")
def test_the_commands_of_the_page_about_http_run(stack: Stack, gateway: Gateway, folder: Path) -> None:
    addresses = {"http://127.0.0.1:8080": stack.environment["GRAINSERVE_TORCHSERVE"]}
    answered = []
    with Client(dispatch=False) as client:
        for command in commands(ROOT / "docs" / "http.md"):
            if command.words[0] != "curl" or "$KEY" in command.line:
                continue
            printed = run(command.line, folder, {**stack.environment, "G": gateway.url}, addresses)
            if "/upload" in command.line:
                addresses["0f4c…"] = image_id = json.loads(printed)["imageId"]
                client.wait(image_id, timeout=300)
            answered.append(printed)
    assert len(answered) == 7
    result, table = answered[2], answered[3]
    assert json.loads(result)["metadata"]["imageId"] == image_id
    assert len(table.splitlines()) == len(json.loads(result)["segmentedObjects"]) + 1
    assert json.loads(answered[6])["segmentedObjects"]
