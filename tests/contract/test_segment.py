"""The gateway's prompts, against a real TorchServe and the emulator, and the page's commands."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from grainserve.gateway.keys import Caller, Keys
from grainserve.gateway.service import Service
from grainserve.jobs.store import JobStore
from grainserve.results.masks import decode_mask
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.contract.test_handler import BASE64, PNG, assert_error, result
from tests.documents import commands
from tests.e2e.test_documents import run
from tests.unit.gateway.conftest import Gateway, serving
from tests.unit.gateway.test_jobs import keys
from tools.mar import ROOT
from tools.stack import Stack

POINT = {"points": [[100, 80]]}
CLICK = {"point_coords": "[[100, 80]]", "point_labels": "[1]"}


@pytest.fixture
def service(stack: Stack, environment: dict[str, str]) -> Service:
    bucket, at = environment["GRAINSERVE_BUCKET"], environment["GRAINSERVE_TORCHSERVE"]
    torchserve = TorchServe(at, environment["GRAINSERVE_MANAGEMENT"])
    models = {"fast": stack.model, "accurate": "sam_vit_h-prompt"}
    return Service(JobStore(Bucket(bucket)), torchserve, stack.model, None, Keys({}), variants=models)


@pytest.fixture
def gateway(service: Service) -> Iterator[Gateway]:
    with serving(service) as running:
        yield running


def ask(gateway: Gateway, key: str | None = None, **given: Any) -> requests.Response:
    return gateway.ask("POST", "/segment", key, timeout=300, **given)


def test_a_click_is_answered_by_pngs_that_are_the_measured_masks(gateway: Gateway, stack: Stack) -> None:
    answer = ask(gateway, files={"file": PNG}, data=CLICK)
    assert answer.status_code == 200, answer.text
    clicked = answer.json()
    assert clicked["model_used"] == stack.model
    measured = result(ask(gateway, json={"imageDigest": clicked["imageDigest"], "prompts": [POINT]}))
    objects = {each["id"]: each for each in measured["segmentedObjects"]}
    best_first = [objects[number] for number in measured["prompts"][0]["objectIds"]]
    assert clicked["scores"] == [each["predictedIou"] for each in best_first]
    for png, each in zip(clicked["masks"], best_first, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
        assert np.array_equal(pixels, decode_mask(each["mask"], 160, 200) * np.uint8(255))
    assert pixels.shape == (160, 200)


def test_an_uploaded_image_is_asked_by_its_id_until_it_is_deleted(gateway: Gateway) -> None:
    image_id = gateway.upload(PNG)
    first, again = (result(ask(gateway, json={"imageId": image_id, "prompts": [POINT]})) for _ in range(2))
    assert [each["mask"] for each in first["segmentedObjects"]] == [each["mask"] for each in again["segmentedObjects"]]
    assert 'how="digest",variant="fast"} 1.0' in gateway.ask("GET", "/metrics").text
    assert gateway.ask("DELETE", f"/image-analysis?imageId={image_id}").status_code == 204
    assert_error(ask(gateway, json={"imageId": image_id, "prompts": [POINT]}), 404, "image_not_found")


@pytest.mark.parametrize(
    ("prompts", "code"),
    [
        ([], "no_prompts"),
        ([POINT] * 10_000, "too_many_prompts"),
        ([{"points": [[100, 80]], "labels": [1, 0]}], "invalid_labels"),
        ([{"points": [[500, 80]]}], "point_outside"),
        ([{"box": [90, 30, 40, 71]}], "invalid_box"),
    ],
)
def test_the_workers_errors_are_passed_on(gateway: Gateway, prompts: list[Any], code: str) -> None:
    assert_error(ask(gateway, json={"image": BASE64, "prompts": prompts}), 422, code)


def test_a_variant_that_is_not_registered_is_told(gateway: Gateway) -> None:
    answer = ask(gateway, files={"file": PNG}, data=CLICK | {"model_type": "accurate"})
    assert_error(answer, 501, "variant_unavailable")
    listed = gateway.ask("GET", "/variants").json()["variants"]
    assert [each["available"] for each in listed] == [True, False]


def test_another_keys_image_is_not_there(service: Service) -> None:
    known, (mine, theirs) = keys(Caller("lab"), Caller("other"))
    with serving(Service(**{**service.__dict__, "keys": known})) as gateway:
        found = ask(gateway, mine, files={"file": PNG}, data=CLICK).json()
        body = {"imageDigest": found["imageDigest"], "prompts": [POINT]}
        assert ask(gateway, mine, json=body).status_code == 200
        pretending = {"grainserve-tenant": "lab"}
        assert_error(ask(gateway, theirs, json=body, headers=pretending), 404, "embedding_missing")


def test_a_batch_is_lines_as_its_items_end(gateway: Gateway) -> None:
    items = [{"image": BASE64, "prompts": [{"points": [[10 + 15 * index, 80]]}]} for index in range(9)]
    items[3]["prompts"] = [{"box": [5, 5, 2, 2]}]
    answer = gateway.ask("POST", "/segment_batch", json={"items": items}, timeout=300)
    ended = {each["index"]: each for each in map(json.loads, answer.text.splitlines())}
    assert [ended[index]["status"] for index in range(9)] == [200] * 3 + [422] + [200] * 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt-get install curl")
def test_the_commands_of_the_page_about_prompts_run(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(PNG)
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n", encoding="utf-8")
    page = [each for each in commands(ROOT / "docs" / "prompts.md") if each.words[0] == "curl"]
    form, measured, batch, listed = (json.loads(run(each.line, tmp_path, {"G": gateway.url}, {})) for each in page)
    assert len(form["masks"]) == len(form["scores"]) > 0
    assert measured["segmentedObjects"][0]["properties"]["area_um2"] > 0
    assert [each["status"] for each in batch["items"]] == [200, 200]
    assert listed["variants"][0]["name"] == "fast"
