"""The metrics that a worker prints for TorchServe; tests/contract/test_metrics.py tests that TorchServe offers them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from grain_handler import service
from grain_handler.errors import NotAnImage
from grain_handler.sam.models import build_sam_tiny
from grain_handler.worker.metrics import Metrics
from grain_handler.worker.model_config import ModelConfig
from tests.unit.handler.context import Context
from tests.unit.handler.pictures import encoded, gradient
from tools.mar import ROOT

LINE = re.compile(r"\[METRICS\](\w+)\.\w+:([-\d.e]+)\|#(.*)\|#type:(\w+)\|#hostname:")
EASY = {"points_per_side": b"1", "pred_iou_thresh": b"0", "stability_score_thresh": b"0", "mode": b"masks"}


class Printed:
    """The printed lines of a test, parsed as TorchServe does."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        log.set_level("INFO", logger="ts.metrics.caching_metric")
        self._log = log

    def values(self, name: str, **labels: str) -> list[float]:
        """Returns the values of one name with these labels, in order."""
        return [value for found, value, given, _ in self.lines() if found == name and labels.items() <= given.items()]

    def lines(self) -> list[tuple[str, float, dict[str, str], str]]:
        found = [LINE.match(message) for message in self._log.messages if message.startswith("[METRICS]")]
        assert all(found), "TorchServe could not read these"
        return [
            (line[1], float(line[2]), dict(part.split(":") for part in line[3].split(",")), line[4])
            for line in found
            if line
        ]


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture) -> Printed:
    return Printed(caplog)


@pytest.fixture
def handler(tmp_path: Path) -> service.GrainHandler:
    torch.save(build_sam_tiny().state_dict(), tmp_path / "sam_tiny.pth")
    handler = service.GrainHandler()
    handler.initialize(Context(tmp_path / "sam_tiny.pth"))
    return handler


def on_gpu() -> Metrics:
    return Metrics(ModelConfig.model_construct(name="sam_tiny", version="2.1", device=torch.device("cuda", 1)))


def test_each_stage_of_each_image_is_timed_and_what_came_of_it_counted(
    printed: Printed, handler: service.GrainHandler
) -> None:
    picture = encoded(gradient(), "PNG")
    rows: list[dict[str, Any]] = [{"image": picture, **EASY}, {"body": b"hello"}, {"image": picture, **EASY}]
    answers = [json.loads(body) for body in handler.handle(rows, handler.context)]
    served = {"model": "sam_tiny", "version": "2.1"}
    times = {"decode": 2, "encode": 1, "masks": 2, "measure": 2, "write": 2}
    for stage, count in times.items():
        assert len(printed.values("grainserve_stage_seconds", stage=stage, **served)) == count
    assert printed.values("grainserve_batch_images", **served) == [3]
    assert printed.values("grainserve_errors_total", code="not_an_image", **served) == [1]
    found = [len(answers[i]["segmentedObjects"]) / 1000 for i in (0, 2)]
    assert printed.values("grainserve_grains_thousands", **served) == found


def test_the_start_of_a_worker_says_where_its_checkpoint_came_from(
    printed: Printed, handler: service.GrainHandler
) -> None:
    handler.initialize(handler.context)
    assert printed.values("grainserve_checkpoints_total", source="file") == [1]
    assert len(printed.values("grainserve_stage_seconds", stage="download")) == 1


def test_an_encoder_that_fails_answers_each_image_in_its_own_words(
    printed: Printed, handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(_images: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(handler.generator, "embed", embed)
    rows = [{"image": encoded(gradient(), "PNG")}, {"body": b"hello"}, {"image": encoded(gradient(), "PNG")}]
    codes = [json.loads(body)["error"]["code"] for body in handler.handle(rows, handler.context)]
    assert codes == ["out_of_memory", "not_an_image", "out_of_memory"]
    assert printed.values("grainserve_errors_total", code="out_of_memory") == [1, 1]


def test_a_device_that_breaks_in_the_encoder_ends_the_worker(
    handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embed(_images: object) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(handler.generator, "embed", embed)
    with pytest.raises(SystemExit):
        handler.handle([{"image": encoded(gradient(), "PNG")}], handler.context)


def test_what_the_encoder_began_on_a_gpu_is_the_encoders_time(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    on_gpu().timed("decode", lambda: None)
    assert not waited
    on_gpu().timed("encode", lambda: None)
    assert waited == [torch.device("cuda", 1)]
    assert len(printed.values("grainserve_stage_seconds")) == 2


def test_a_gpus_memory_is_told_by_its_number(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60 * 2**30, 80 * 2**30))
    on_gpu().memory()
    assert printed.values("grainserve_gpu_memory_used_bytes", gpu="1") == [20 * 2**30]
    assert printed.values("grainserve_gpu_memory_total_bytes", gpu="1") == [80 * 2**30]


def test_torchserve_is_told_of_every_name_its_labels_and_its_kind(
    printed: Printed, handler: service.GrainHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchServe assigns labels by their position, not by their name, and drops undeclared metrics."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 2))
    handler.metrics.timed("decode", lambda: None)
    handler.metrics.fetched(handler.checkpoint)
    handler.metrics.batch(1)
    handler.metrics.answered(1)
    handler.metrics.refused(NotAnImage())
    handler.metrics.embedded("process", 1)
    handler.metrics.redis("hit")
    on_gpu().memory()
    section = yaml.safe_load((ROOT / "config" / "metrics.yaml").read_text())["model_metrics"]
    declared = {
        (entry["name"], tuple(entry["dimensions"]), kind.upper())
        for kind, entries in section.items()
        for entry in entries
        if entry["name"].startswith("grainserve_")
    }
    assert {(name, tuple(labels), kind) for name, _, labels, kind in printed.lines()} == declared
