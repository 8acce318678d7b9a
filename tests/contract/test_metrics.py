"""Checks the metrics of a real TorchServe after real requests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
import requests

from tests.unit.handler.pictures import encoded, gradient
from tools.stack import Stack

SERVED = {"model": "sam_tiny", "version": "1.0"}
PNG = encoded(gradient()[::-1], "PNG")
"""An image that no other test sends: the worker keeps embeddings, and encodes no image twice."""


class Scrape:
    """One scrape of /metrics. It keeps names as they are, while some libraries append `_total` to counters."""

    def __init__(self, stack: Stack) -> None:
        text = requests.get(f"{stack.torchserve.metrics}/metrics", timeout=30).text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.samples = [
            (name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value))
            for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
        ]

    def value(self, name: str, **labels: str) -> float:
        """Returns the sum of a name's samples with these labels."""
        return sum(value for found, given, value in self.samples if found == name and labels.items() <= given.items())


@pytest.fixture
def after(stack: Stack) -> Callable[[Scrape, str], Scrape]:
    """Scrapes until a metric has changed: a worker's lines come through a separate pipe, after its answers."""

    def look(before: Scrape, name: str) -> Scrape:
        deadline = time.monotonic() + 30
        while (seen := Scrape(stack)).value(name, **SERVED) == before.value(name, **SERVED):
            assert time.monotonic() < deadline, f"{name} did not move"
            time.sleep(0.1)
        return seen

    return look


def ask(stack: Stack, image: bytes) -> requests.Response:
    url = f"{stack.torchserve.inference}/predictions/sam_tiny"
    return requests.post(url, files={"image": image}, data={"points_per_side": "2"}, timeout=300)


def test_stages_grains_and_batches_are_histograms_of_model_and_version(
    stack: Stack, after: Callable[[Scrape, str], Scrape]
) -> None:
    before = Scrape(stack)
    answer = ask(stack, PNG)
    assert answer.status_code == 200
    seen = after(before, "grainserve_grains_thousands_count")

    def more(name: str, **labels: str) -> float:
        return seen.value(name, **SERVED, **labels) - before.value(name, **SERVED, **labels)

    for stage in ("decode", "encode", "masks", "measure", "write"):
        assert more("grainserve_stage_seconds_count", stage=stage) == 1, stage
        assert 0 < more("grainserve_stage_seconds_sum", stage=stage) < 300, stage
    assert more("grainserve_batch_images_sum") == 1
    found = len(answer.json()["segmentedObjects"])
    assert more("grainserve_grains_thousands_sum") == pytest.approx(found / 1000)
    assert seen.types["grainserve_stage_seconds"] == "histogram"


def test_buckets_are_what_docs_metrics_says(stack: Stack) -> None:
    """Grains are counted in thousands because these buckets are fixed."""
    edges = {given["le"] for name, given, _ in Scrape(stack).samples if name == "grainserve_stage_seconds_bucket"}
    assert sorted(float(edge) for edge in edges) == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
        *(1, 2.5, 5, 7.5, 10, float("inf")),
    ]


def test_errors_are_counted_by_code(stack: Stack, after: Callable[[Scrape, str], Scrape]) -> None:
    before = Scrape(stack)
    assert ask(stack, b"hello").status_code == 415
    seen = after(before, "grainserve_errors_total")
    labels = {**SERVED, "code": "not_an_image"}
    assert seen.value("grainserve_errors_total", **labels) == before.value("grainserve_errors_total", **labels) + 1


def test_the_checkpoint_was_downloaded_once_and_timed(stack: Stack) -> None:
    seen = Scrape(stack)
    assert seen.value("grainserve_checkpoints_total", source="download", **SERVED) == 1
    assert seen.value("grainserve_stage_seconds_count", stage="download", **SERVED) >= 1


def test_waiting_and_answering_are_torchserves_own_counters(stack: Stack) -> None:
    """Requests are counted when they arrive, both times when they are answered; the second time includes the first."""
    before = Scrape(stack)
    assert ask(stack, PNG).status_code == 200
    seen = Scrape(stack)
    names = ("ts_inference_requests_total", "ts_queue_latency_microseconds", "ts_inference_latency_microseconds")
    # For a request without a version it is "default", whichever version that is.
    labels = {"model_name": "sam_tiny", "model_version": "default"}
    requests_, queue, inference = (seen.value(name, **labels) - before.value(name, **labels) for name in names)
    assert requests_ == 1
    assert 0 < queue < inference
