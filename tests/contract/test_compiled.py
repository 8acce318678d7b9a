"""An image encoder compiled ahead of time, fetched from the bucket by a real worker that runs a `.mar`'s own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests
import torch
import yaml

from tests.unit.handler.pictures import encoded
from tools.compile_encoder import compile_encoder
from tools.mar import ROOT, pack
from tools.stack import Stack
from training.synthetic import synthesize

PNG = encoded(synthesize(np.random.default_rng(11), "matrix", 160, 200, grain_px=40).image, "PNG")
TIMEOUT = 300


@pytest.fixture(scope="module")
def package(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packages") / "sam_tiny.pt2"
    compile_encoder("sam_tiny", "fp32", torch.device("cpu"), out)
    return out


def serve(stack: Stack, folder: Path, version: str, **section: Any) -> None:
    config = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())
    config["grainserve"] |= {"precision": "fp32"} | section
    (folder / f"{version}.yaml").write_text(yaml.safe_dump(config))
    mar = folder / f"compiled-{uuid4().hex}.mar"
    stack.torchserve.register(pack("sam_tiny", version, config=folder / f"{version}.yaml", out=mar))


def about(stack: Stack, version: str) -> dict[str, Any]:
    address = f"{stack.torchserve.management}/models/sam_tiny/{version}"
    metadata = requests.get(address, params={"customized": "true"}, timeout=TIMEOUT).json()[0]["customizedMetadata"]
    described: dict[str, Any] = json.loads(metadata) if isinstance(metadata, str) else metadata
    return described


def grains(stack: Stack, version: str) -> list[tuple[float, float]]:
    """Area and score of each grain."""
    address = f"{stack.torchserve.inference}/predictions/sam_tiny/{version}"
    fields = {"points_per_side": "4", "pred_iou_thresh": "0.1", "stability_score_thresh": "0.1", "mask_format": "none"}
    answer = requests.post(address, files={"image": ("image", PNG)}, data=fields, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    return [(grain["properties"]["area"], grain["score"]) for grain in answer.json()["segmentedObjects"]]


def test_a_worker_loads_it_and_finds_the_same_grains(stack: Stack, package: Path, tmp_path: Path) -> None:
    bucket = stack.environment["GRAINSERVE_WEIGHTS_BUCKET"]
    blob = stack.emulator.client().bucket(bucket).blob("sam_tiny-fp32-cpu.pt2")
    blob.upload_from_filename(str(package))
    serve(stack, tmp_path, "6.0")
    serve(stack, tmp_path, "6.1", encoder_package="gs://${GRAINSERVE_WEIGHTS_BUCKET}/sam_tiny-fp32-cpu.pt2")
    assert about(stack, "6.0")["encoder"] == {"compiled": False}
    assert about(stack, "6.1")["encoder"] == {
        "compiled": True,
        "uri": f"gs://{bucket}/sam_tiny-fp32-cpu.pt2",
        "generation": str(blob.generation),
        "crc32c": blob.crc32c,
    }
    expected, found = np.array(grains(stack, "6.0")), np.array(grains(stack, "6.1"))
    assert len(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0.01)
    for version in ("6.0", "6.1"):
        removed = requests.delete(f"{stack.torchserve.management}/models/sam_tiny/{version}", timeout=TIMEOUT)
        assert removed.ok, removed.text
