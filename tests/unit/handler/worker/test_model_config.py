"""A worker's device by its model config, and interactive models; test_service.py tests wrong sections."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import yaml

from grain_handler.errors import DeviceError
from grain_handler.service import GrainHandler
from grain_handler.worker.model_config import ModelConfig
from tests.unit.handler.context import Context
from tools.mar import ROOT


def context(gpu: int | None) -> Context:
    made = Context("nowhere/weights.pth", precision="fp32")
    made.system_properties["gpu_id"] = gpu
    return made


def see_gpus(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)


@pytest.mark.parametrize("required", ["", "0", "1"])
def test_a_worker_runs_on_the_gpu_that_it_was_given(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv("GRAINSERVE_REQUIRE_GPU", required)
    see_gpus(monkeypatch, True)
    assert ModelConfig.read(context(3)).device == torch.device("cuda", 3)


WITHOUT = pytest.mark.parametrize(
    ("gpu", "seen", "why"),
    [
        (None, False, "TorchServe, which asks nvidia-smi, gave this worker none, and torch .* finds no driver"),
        (None, True, "TorchServe, which asks nvidia-smi, gave this worker none, and torch finds one"),
        (0, False, "it was given GPU 0, and torch .* finds no driver"),
    ],
)


@WITHOUT
@pytest.mark.parametrize("required", [None, "", "0"])
def test_without_one_it_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, gpu: int | None, seen: bool, why: str, required: str | None
) -> None:
    del why
    monkeypatch.delenv("GRAINSERVE_REQUIRE_GPU", raising=False)
    if required is not None:
        monkeypatch.setenv("GRAINSERVE_REQUIRE_GPU", required)
    see_gpus(monkeypatch, seen)
    assert ModelConfig.read(context(gpu)).device == torch.device("cpu")


@WITHOUT
@pytest.mark.parametrize("required", ["1", "true"])
def test_or_does_not_start_where_there_must_be_one(
    monkeypatch: pytest.MonkeyPatch, gpu: int | None, seen: bool, why: str, required: str
) -> None:
    monkeypatch.setenv("GRAINSERVE_REQUIRE_GPU", required)
    see_gpus(monkeypatch, seen)
    # This happens before it looks for weights, which do not exist.
    with pytest.raises(DeviceError, match=why):
        GrainHandler().initialize(context(gpu))


@pytest.mark.parametrize(
    ("gpu", "kind", "seen", "told"),
    [
        (0, "", False, True),
        (None, "gpu", False, True),
        (None, "gpu", True, True),
        (None, "", False, False),
        (None, "cpu", True, False),
        (2, "gpu", True, False),
    ],
    ids=["given one", "config wants one", "TorchServe sees none", "told nothing", "told the CPU", "has it"],
)
def test_a_worker_that_was_to_have_a_gpu_and_has_none_says_why(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    gpu: int | None,
    kind: str,
    seen: bool,
    told: bool,
) -> None:
    monkeypatch.delenv("GRAINSERVE_REQUIRE_GPU", raising=False)
    see_gpus(monkeypatch, seen)
    made = context(gpu)
    made.model_yaml_config["deviceType"] = kind
    with caplog.at_level(logging.WARNING):
        ModelConfig.read(made)
    assert ("runs on the CPU" in caplog.text) == told
    assert ("GRAINSERVE_REQUIRE_GPU=1" in caplog.text) == told


INTERACTIVE = sorted(ROOT.glob("config/*-prompt.yaml"))


@pytest.mark.parametrize("file", INTERACTIVE, ids=lambda file: file.stem)
def test_an_interactive_model_shares_its_models_embeddings(file: Path) -> None:
    automatic = yaml.safe_load(file.with_name(file.name.replace("-prompt", "")).read_text())["grainserve"]
    config = yaml.safe_load(file.read_text())
    mine = config["grainserve"]
    assert config["batchSize"] > 1
    assert mine["prompts_only"]
    assert mine["embedding_cache_mib"] > 0
    for name in ("model", "checkpoint", "precision"):
        assert mine[name] == automatic[name]


def test_each_model_that_is_served_has_an_interactive_one() -> None:
    assert [file.stem for file in INTERACTIVE] == [
        f"{model}-prompt" for model in ("sam_tiny", "sam_vit_b", "sam_vit_h", "sam_vit_l")
    ]
