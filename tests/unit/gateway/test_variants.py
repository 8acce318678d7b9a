"""Variants: which there are, and what happens where TorchServe lacks one."""

from __future__ import annotations

import logging

import pytest
import requests

from grainserve.gateway import variants
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import NO_MODEL, FakeTorchServe
from tests.unit.gateway.conftest import Gateway, Start
from tests.unit.gateway.prompted import POINT, prompting  # noqa: F401
from tests.unit.gateway.test_jobs import failure, keys

TWO = {"fast": "sam_tiny", "accurate": "sam_vit_h-prompt"}


def asked(gateway: Gateway, **more: str) -> requests.Response:
    return gateway.ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": [POINT], **more})


def listed(gateway: Gateway) -> list[tuple[str, str, bool | None]]:
    answer = gateway.ask("GET", "/variants")
    assert answer.status_code == 200, answer.text
    return [(each["name"], each["model"], each["available"]) for each in answer.json()["variants"]]


@pytest.mark.usefixtures("prompting")
def test_a_request_names_a_variant_and_its_model_answers(start: Start, torchserve: FakeTorchServe) -> None:
    gateway = start(variants=TWO)
    for named in ({}, {"model_type": "accurate"}, {"model_type": "fast"}):
        assert asked(gateway, **named).status_code == 200
    assert [path for path, _ in torchserve.requests] == [
        f"/predictions/{model}" for model in ("sam_tiny", "sam_vit_h-prompt", "sam_tiny")
    ]
    answer = asked(gateway, model_type="quantized")
    assert failure(answer, 422) == "unknown_variant"
    assert "fast, accurate" in answer.text


@pytest.mark.usefixtures("prompting")
def test_a_variant_whose_model_is_missing_is_told_and_counts_once_it_is_there(
    start: Start, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(variants, "REMEMBERED", -1.0)
    gateway = start(variants=TWO)
    warned = [line for line in caplog.messages if "accurate (sam_vit_h-prompt)" in line]
    assert len(warned) == 1, "at the start"
    assert listed(gateway) == [("fast", "sam_tiny", True), ("accurate", "sam_vit_h-prompt", False)]
    assert gateway.ask("GET", "/readyz").json()["ready"], "uploads do without it"
    torchserve.script = [NO_MODEL]
    answer = asked(gateway, model_type="accurate")
    assert failure(answer, 501) == "variant_unavailable"
    assert "accurate" in answer.text
    models = [{"modelName": name} for name in TWO.values()]
    torchserve.management["/models?limit=100"] = {"models": models}
    assert listed(gateway)[1] == ("accurate", "sam_vit_h-prompt", True)
    assert asked(gateway, model_type="accurate").status_code == 200
    assert [line for line in caplog.messages if "accurate (sam_vit_h-prompt)" in line] == warned, "it was said once"


@pytest.mark.parametrize("management", [None, "http://127.0.0.1:1"])
def test_without_management_it_is_not_known(
    start: Start, torchserve: FakeTorchServe, management: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gateway = start(variants=TWO, torchserve=TorchServe(torchserve.url, management))
    assert [available for *_, available in listed(gateway)] == [None, None]
    assert ("is not known" in caplog.text) == (management is not None)


def test_the_list_wants_a_key(start: Start) -> None:
    known, (key,) = keys()
    gateway = start(keys=known)
    assert failure(gateway.ask("GET", "/variants"), 401) == "unauthorized"
    assert gateway.ask("GET", "/variants", key).status_code == 200
