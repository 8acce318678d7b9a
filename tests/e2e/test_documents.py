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
    for path in (tmp_path / "scans" / "field.tif", tmp_path / "image.tif"):
        tifffile.imwrite(path, TRUTH.image, imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"})
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
    """Ids that the page writes stand for the last upload, for two images of a sample, and for two samples."""
    addresses = {"http://127.0.0.1:8080": stack.environment["GRAINSERVE_TORCHSERVE"]}
    answered: dict[str, str] = {}

    def asked(line: str) -> str:
        return run(line, folder, {**stack.environment, "G": gateway.url}, addresses)

    with Client(dispatch=False) as client:

        def measured(printed: str) -> str:
            image_id = str(json.loads(printed)["imageId"])
            client.wait(image_id, timeout=300)
            return image_id

        for written in ("81aa…", "93d0…"):
            addresses[written] = measured(asked('curl --data-binary @image.jpg "$G/upload?um_per_px=2.5"'))
        for command in commands(ROOT / "docs" / "http.md"):
            if command.words[0] != "curl" or "$KEY" in command.line:
                continue
            answered[command.line] = printed = asked(command.line)
            if "/upload" in command.line or "-X DELETE" in command.line:
                again = (
                    printed
                    if "/upload" in command.line
                    else asked('curl --data-binary @image.tif "$G/upload?scale=auto"')
                )
                addresses["0f4c…"] = measured(again)
            if command.line.endswith('"$G/samples"') and "-d" in command.words:
                other = asked(command.line)
                addresses |= {
                    "/ID": f"/{json.loads(printed)['sampleId']}",
                    "=ID&": f"={json.loads(printed)['sampleId']}&",
                }
                addresses["=OTHER"] = f"={json.loads(other)['sampleId']}"

    def answer(part: str) -> str:
        return next(printed for line, printed in answered.items() if part in line)

    result = json.loads(answer('image-analysis?imageId=0f4c…"'))
    assert len(answer("format=csv").splitlines()) == len(result["segmentedObjects"]) + 1
    assert json.loads(answer("/predictions/"))["segmentedObjects"]
    assert json.loads(answer("images?search"))["images"] == []
    assert json.loads(answer("-X PUT"))["umPerPx"] == pytest.approx(1000 / 412)
    assert json.loads(answer("/statistics"))["grains"] > 0
    assert (folder / "sand.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "sand.zip").read_bytes().startswith(b"PK")
    assert "</html>" in (folder / "sands.html").read_text(encoding="utf-8")
    for picture in ("preview.webp", "tile.webp"):
        with Image.open(folder / picture) as shown:
            assert shown.size == (TRUTH.image.shape[1], TRUTH.image.shape[0])
