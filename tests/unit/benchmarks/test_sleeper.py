"""The sleeper answers like a model: dispatchers store nothing else."""

from __future__ import annotations

import base64
import json
import time
from types import SimpleNamespace

import pytest

from benchmarks.side_by_side import sleeper
from grainserve.contract import validate_result
from tests.faults.stub import Stub


def test_a_sleeper_answers_with_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    entry = sleeper.Sleeper()
    entry.initialize(SimpleNamespace(manifest={"model": {"modelVersion": "1.0"}}))
    (answer,) = entry.handle([{"body": {"imageId": "a" * 32}}], None)
    validate_result(json.loads(answer))


def test_the_stub_answers_with_a_result() -> None:
    status, answer = Stub(0, 1, 1).predict({"imageId": "a" * 32, "image": base64.b64encode(b"x").decode()})
    validate_result(answer)
    assert (status, answer["metadata"]["imageId"]) == (200, "a" * 32)
