"""A user's steps through all processes: client, bucket, TorchServe, sam_tiny."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from grainserve import AsyncClient, Client
from grainserve.cli.application import app
from grainserve.errors import GrainserveError, JobFailed
from tests.unit.handler.pictures import encoded
from tools import demo
from tools.stack import ROOT, Stack
from training.scoring import score
from training.synthetic import synthesize

TRUTH = synthesize(np.random.default_rng(11), "matrix", 160, 200, grain_px=40)
COARSE: dict[str, Any] = {"points_per_side": 8}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "sand.png"
    Image.fromarray(TRUTH.image).save(path)
    return path


def objects(stack: Stack, prefix: str) -> list[str]:
    """Returns names under a prefix in the jobs' bucket."""
    blobs = stack.emulator.client().list_blobs(stack.environment["GRAINSERVE_BUCKET"], prefix=prefix)
    return [blob.name for blob in blobs]


@pytest.mark.usefixtures("environment")
def test_submit_poll_wait(stack: Stack, image: Path) -> None:
    with Client() as client:
        image_id = client.submit(image, um_per_px=2.0, **COARSE)
        assert objects(stack, f"images/{image_id}") == [f"images/{image_id}"]
        result = client.wait(image_id, timeout=300)
        polled = client.poll(image_id)
    assert polled is not None
    assert polled.to_dict() == result.to_dict()
    assert result.image_id == image_id
    assert result.grains
    assert result.label_map.shape == (160, 200)
    assert objects(stack, f"results/{image_id}") == [f"results/{image_id}.json"]
    assert objects(stack, "pending/") == []
    assert score(result.label_map, TRUTH.labels).matched > 0


@pytest.mark.usefixtures("environment")
def test_a_folder_of_a_bucket_is_submitted_once(stack: Stack, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = stack.emulator.create_bucket("scans-e2e")
    for name in ("2026/1.png", "2026/2.png"):
        scans.blob(name).upload_from_filename(str(image))
    monkeypatch.setenv("GRAINSERVE_READABLE", "scans-e2e/2026")

    def submitted() -> dict[str, str]:
        command = ["submit", "gs://scans-e2e/2026/*.png", "--points-per-side", "8"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        return {uri: image_id for image_id, uri in (line.split("  ") for line in done.stdout.splitlines())}

    ids = submitted()
    assert list(ids) == ["gs://scans-e2e/2026/1.png", "gs://scans-e2e/2026/2.png"]
    assert submitted() == ids
    with Client() as client:
        alone = client.analyze(image, **COARSE)
        for image_id in ids.values():
            result = client.wait(image_id, timeout=300)
            assert [grain.properties for grain in result.grains] == [grain.properties for grain in alone.grains] != []
    assert submitted() == ids
    assert objects(stack, "pending/") == []


@pytest.mark.usefixtures("environment")
def test_bytes_and_arrays_give_what_the_file_gives(image: Path) -> None:
    async def both() -> list[list[object]]:
        async with AsyncClient() as client:
            results = await asyncio.gather(
                client.analyze(image.read_bytes(), **COARSE), client.analyze(TRUTH.image, **COARSE)
            )
            return [[grain.properties for grain in result.grains] for result in results]

    from_bytes, from_array = asyncio.run(both())
    assert from_bytes == from_array != []


@pytest.mark.usefixtures("environment")
def test_a_refused_image_is_a_typed_error_with_the_reason() -> None:
    with Client() as client:
        image_id = client.submit(encoded(np.zeros((4, 1025), np.uint8), "PNG"))
        with pytest.raises(GrainserveError, match="1025 × 4 px") as refused:
            client.wait(image_id, timeout=120)
        assert isinstance(refused.value, JobFailed)


def test_who_submits_may_go_away(stack: Stack, image: Path) -> None:
    """`submit` runs in one process, which ends; `wait` in another process gets the result."""
    environment = {**os.environ, **stack.environment}
    command = [sys.executable, "-m", "grainserve"]
    submitted = subprocess.run(
        [*command, "submit", str(image), "--points-per-side", "8"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    image_id = submitted.stdout.strip()
    waited = subprocess.run(
        [*command, "wait", image_id, "--out", str(image.parent / "out"), "--timeout", "300"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert waited.returncode == 0, waited.stderr
    assert (image.parent / "out" / f"{image_id}.csv").is_file()


@pytest.mark.usefixtures("environment")
def test_analyze_writes_tables_and_pictures_and_goes_on_after_a_bad_image(image: Path) -> None:
    text = image.parent / "notes.txt"
    text.write_text("not an image")
    out = image.parent / "out"
    done = CliRunner().invoke(
        app, ["analyze", str(text), str(image), "--out", str(out), "--um-per-px", "2.5", "--points-per-side", "8"]
    )
    assert done.exit_code == 1
    assert "notes.txt" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "sand.csv",
        "sand.json",
        "sand_overlay.png",
        "sand_sizes.png",
    ]
    table = pd.read_csv(out / "sand.csv")
    found = json.loads((out / "sand.json").read_text())["segmentedObjects"]
    assert len(table) == len(found) > 0
    assert (table["area_um2"] / table["area"]).to_numpy() == pytest.approx(6.25)


@pytest.mark.usefixtures("environment")
def test_models_and_weights_on_the_command_line(stack: Stack, tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["models", "list"])
    assert listed.exit_code == 0
    assert re.search(r"sam_tiny\W+1\.0\W+yes\W+1 of 1", listed.output)
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    pushed = CliRunner().invoke(app, ["weights", "push", str(file)])
    bucket = stack.environment["GRAINSERVE_WEIGHTS_BUCKET"]
    assert f"gs://{bucket}/mine.pth" in pushed.output
    assert stack.emulator.client().bucket(bucket).blob("mine.pth").download_as_bytes() == b"weights"


@pytest.mark.usefixtures("environment")
def test_the_readme_s_client_runs(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image.parent)
    image.rename("image.png")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert len(pd.read_csv("grains.csv")) > 0
    assert Path("grains.png").is_file()


def test_the_demo_scores_against_the_truth(tmp_path: Path) -> None:
    """The demo's words describe the given result file."""
    truth = demo.thin_section()
    assert truth.labels.max() > 20
    words = demo.describe(score(truth.labels, truth.labels))
    assert f"{truth.labels.max()} grains found, {truth.labels.max()} true" in words
    assert "F1 1.00" in words
