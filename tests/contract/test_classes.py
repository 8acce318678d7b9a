"""The steps of docs/classes.md with a real worker: tables of results, a classifier trained on them, classes named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import requests
import yaml
from typer.testing import CliRunner

from grainserve import contract
from grainserve.cli.application import app
from grainserve.result import Result
from tests.unit.handler.pictures import encoded
from tools.mar import ROOT, pack
from tools.stack import Stack
from training.minerals import Section, draw_section

TIMEOUT = 300
OPTIONS = {"points_per_side": "12", "crop_n_layers": "0", "label": "sand"}
URI = "gs://${GRAINSERVE_WEIGHTS_BUCKET}/minerals.skops"


def section(seed: int) -> Section:
    return draw_section(np.random.default_rng(seed), ("quartz", "biotite"), 320, 320, grain_px=45)


def analyzed(stack: Stack, shown: Section, rest: str = "") -> Result:
    address = f"{stack.torchserve.inference}/predictions/sam_tiny{rest}"
    files = {"image": ("image", encoded(shown.image, "PNG"))}
    answer = requests.post(address, files=files, data=OPTIONS, timeout=TIMEOUT)
    assert answer.status_code == 200, answer.text
    contract.validate_result(answer.json())
    return Result(answer.json())


def minerals(result: Result, shown: Section) -> list[str]:
    """Returns the class that a person would give each grain; "" for none."""
    names = np.array(["", *shown.minerals])
    centres = [grain.properties["centroid"] for grain in result.grains]
    return [str(names[shown.labels[int(at["y"]), int(at["x"])]]) for at in centres]


def serve(stack: Stack, folder: Path, version: str) -> None:
    config = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())
    config["grainserve"] |= {"classifier": URI}
    (folder / "model.yaml").write_text(yaml.safe_dump(config))
    mar = folder / f"classes-{version}.mar"
    stack.torchserve.register(pack("sam_tiny", version, config=folder / "model.yaml", out=mar))


def withdraw(stack: Stack, version: str) -> None:
    removed = requests.delete(f"{stack.torchserve.management}/models/sam_tiny/{version}", timeout=TIMEOUT)
    assert removed.ok, removed.text


def grainserve(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_lab_makes_a_classifier_and_a_worker_names_classes(
    stack: Stack, environment: dict[str, str], tmp_path: Path
) -> None:
    tables = []
    for seed in (1, 2):
        result = analyzed(stack, section(seed))
        assert {(grain.label, grain.class_confidence, grain.class_source) for grain in result.grains} == {
            ("sand", None, "given")
        }
        assert "classifier" not in result.metadata
        tables.append(tmp_path / f"{seed}.csv")
        result.to_dataframe().assign(**{"class": minerals(result, section(seed))}).to_csv(tables[-1], index=False)
    grainserve("classifier", "train", *tables, "--out", tmp_path / "minerals.skops")
    grainserve("weights", "push", tmp_path / "minerals.skops")

    serve(stack, tmp_path, "7.0")
    bucket = environment["GRAINSERVE_WEIGHTS_BUCKET"]
    blob: Any = stack.emulator.client().bucket(bucket).get_blob("minerals.skops")
    named, truth = (result := analyzed(stack, section(3), "/7.0")).grains, minerals(result, section(3))
    about = result.metadata["classifier"]
    assert about["uri"] == f"gs://{bucket}/minerals.skops"
    assert (about["generation"], about["crc32c"]) == (str(blob.generation), blob.crc32c)
    assert about["classes"] == ["biotite", "quartz"]
    assert {grain.class_source for grain in named} == {"classifier"}
    sure = [(grain.label, true) for grain, true in zip(named, truth, strict=True) if grain.label != "unknown" and true]
    assert len(sure) > 0.6 * len(named) > 10
    assert np.mean([label == true for label, true in sure]) > 0.9
    frame = result.to_dataframe()
    assert frame["class"].tolist() == [grain.label for grain in named]
    assert frame["classConfidence"].between(0, 1).all()
    withdraw(stack, "7.0")
