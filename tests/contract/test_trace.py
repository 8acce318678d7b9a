"""A trace from the submission to the result and the worker's log, through a real TorchServe."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from grainserve import Client, contract
from tests.unit.handler.pictures import encoded, gradient
from tools.stack import Stack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.usefixtures("environment")
def test_a_trace_arrives_in_the_result_and_in_the_workers_log(stack: Stack, tmp_path: Path) -> None:
    image = tmp_path / "sand.png"
    image.write_bytes(encoded(gradient(), "PNG"))
    with Client() as client:
        parent = f"00-{TRACE}-00f067aa0ba902b7-01"
        image_id = client.submit(image, traceparent=parent, points_per_side=2)
        result = client.wait(image_id, timeout=300).to_dict()
    contract.validate_result(result)
    assert result["metadata"]["traceId"] == TRACE
    deadline = time.monotonic() + 30  # the log is written after the answer
    while f'"traceId": "{TRACE}"' not in stack.torchserve.log.read_text(errors="replace"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
