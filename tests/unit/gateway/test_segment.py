"""Prompts over HTTP: forms, JSON, bad input, limits, tenants and errors."""

from __future__ import annotations

import base64
import io
import json
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from grainserve.contract import validate_result
from grainserve.gateway import bodies
from grainserve.gateway.keys import Caller
from grainserve.gateway.segment_answers import MASK_PROMPTS, RESULT
from grainserve.gateway.service import Limits
from grainserve.jobs.store import DELETED
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import BUSY, HANG_UP, NO_MODEL, WORKER_DIED, Answer, FakeTorchServe
from tests.unit.client.made import disc_masks
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.prompted import BOX, MISSING, POINT, digest, prompting  # noqa: F401
from tests.unit.gateway.test_jobs import failure, keys

pytestmark = pytest.mark.usefixtures("prompting")
BASE64 = base64.b64encode(png()).decode()
POINTED = {"point_coords": "[[20, 15]]", "point_labels": "[1]"}
JSON = {"Content-Type": "application/json"}


def masks_of(answer: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in answer["masks"]]


@pytest.mark.parametrize("name", ["file", "image"])
def test_a_form_is_answered_as_people_know_it(gateway: Gateway, torchserve: FakeTorchServe, name: str) -> None:
    fields = POINTED | {"multimask": "true", "model_type": "fast", "um_per_px": "2.5", "box": ""}
    answer = gateway.ask("POST", "/segment", files={name: png()}, data=fields)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"masks", "scores", "prompts", "model_used", "imageDigest"}
    for mask, disc in zip(masks_of(body), disc_masks()[:2], strict=True):
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, disc * np.uint8(255))
    assert body["scores"] == sorted(body["scores"], reverse=True)
    assert (body["prompts"], body["model_used"], body["imageDigest"]) == ([0, 0], "sam_tiny-prompt", digest(png()))
    path, sent = torchserve.requests[0]
    assert path == "/predictions/sam_tiny-prompt"
    assert sent["prompts"] == [{"points": [[20, 15]], "labels": [1], "multimask": True}]
    assert (sent["um_per_px"], sent["image"]) == (2.5, BASE64)


def test_a_box_is_json_text(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    answer = gateway.ask("POST", "/segment", files={"file": png()}, data={"box": "[38, 18, 63, 43]"})
    assert answer.status_code == 200, answer.text
    assert torchserve.requests[0][1]["prompts"] == [BOX]


def test_json_with_prompts_is_answered_by_the_measured_result(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    body = {"image": BASE64, "prompts": [POINT, BOX], "um_per_px": 2.5, "mask_format": "polygon"}
    answer = gateway.ask("POST", "/segment", json=body)
    assert answer.status_code == 200, answer.text
    validate_result(answer.json())
    assert [each["objectIds"] for each in answer.json()["prompts"]] == [[1], [2]]
    sent = torchserve.requests[0][1]
    assert (sent["prompts"], sent["um_per_px"], sent["mask_format"]) == ([POINT, BOX], 2.5, "polygon")


@pytest.mark.parametrize(
    ("form", "query", "accept", "field", "key", "kind"),
    [
        (True, "", "", "", "masks", bodies.JSON),
        (True, "", RESULT, "", "segmentedObjects", RESULT),
        (True, "", "", "measured", "segmentedObjects", bodies.JSON),
        (True, "?format=masks", RESULT, "", "masks", bodies.JSON),
        (False, "", "", "", "segmentedObjects", bodies.JSON),
        (False, "", RESULT, "", "segmentedObjects", RESULT),
        (False, "?format=masks", "", "", "masks", bodies.JSON),
        (False, "", "", "masks", "masks", bodies.JSON),
    ],
)
def test_the_request_chooses_the_form_of_the_answer(  # noqa: PLR0917 - a table's columns
    gateway: Gateway, form: bool, query: str, accept: str, field: str, key: str, kind: str
) -> None:
    more = {"format": field} if field else {}
    asked: dict[str, Any] = (
        {"files": {"file": png()}, "data": POINTED | more}
        if form
        else {"json": {"image": BASE64, "prompts": [POINT], "mask_format": "none"} | more}
    )
    answer = gateway.ask("POST", "/segment" + query, headers={"Accept": accept or "*/*"}, **asked)
    assert answer.status_code == 200, answer.text
    assert key in answer.json()
    assert answer.headers["Content-Type"] == kind


def bomb() -> bytes:
    """Makes a PNG whose header claims 50,000 × 50,000 px."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = png()
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


@pytest.mark.parametrize(
    ("fields", "file", "status", "code"),
    [
        ({"box": "no JSON"}, png(), 422, "invalid_prompts"),
        ({"box": "__import__('os').system('true')"}, png(), 422, "invalid_prompts"),
        ({"box": "[NaN, 0, 3, 4]"}, png(), 422, "invalid_prompts"),
        ({"box": "[1e999, 0, 3, 4]"}, png(), 422, "invalid_prompts"),
        ({"box": "[" * 100_000}, png(), 422, "invalid_prompts"),
        ({"point_coords": "[" + "[1,2]," * 40_000 + "[1,2]]"}, png(), 422, "invalid_prompts"),
        ({"prompts": '{"box": [1, 2, 3, 4]}'}, png(), 422, "invalid_prompts"),
        ({"prompts": "[{}]", "box": "[1, 2, 3, 4]"}, png(), 422, "invalid_prompts"),
        ({"prompts": json.dumps([POINT] * (MASK_PROMPTS + 1))}, png(), 422, "too_many_prompts"),
        ({}, png(), 422, "no_prompts"),
        (POINTED, None, 400, "missing_image"),
        (POINTED | {"image": BASE64}, None, 400, "missing_image"),
        (POINTED | {"imageDigest": "ab" * 32}, png(), 422, "several_images"),
        (POINTED | {"imageId": "../x"}, None, 404, "invalid_image_id"),
        (POINTED | {"imageId": "f" * 32}, None, 404, "image_not_found"),
        (POINTED | {"model_type": "vit_x"}, png(), 422, "unknown_variant"),
        (POINTED | {"format": "svg"}, png(), 422, "invalid_option"),
        (POINTED | {"nonsense": "1"}, png(), 422, "invalid_option"),
        (POINTED | {"um_per_px": "-1"}, png(), 422, "invalid_option"),
        (POINTED, b"hello", 415, "not_an_image"),
        (POINTED, png(1025, 8), 413, "image_too_large"),
        (POINTED, bomb(), 413, "decompression_bomb"),
    ],
)
def test_a_form_that_cannot_be_asked_is_refused(  # noqa: PLR0917 - a table's columns
    gateway: Gateway, torchserve: FakeTorchServe, fields: dict[str, str], file: bytes | None, status: int, code: str
) -> None:
    files = {name: (None, text) for name, text in fields.items()} | ({"file": file} if file else {})
    answer = gateway.ask("POST", "/segment", files=files)
    assert failure(answer, status) == code
    assert len(answer.content) < 1000
    assert torchserve.requests == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "invalid_json"),
        ("[]", 400, "invalid_json"),
        ('{"imageDigest": "a", "prompts": [{"points": [[NaN, 1]]}]}', 400, "invalid_json"),
        ('{"imageDigest": "a", "prompts": [' + "[]," * 200_000 + "[]]}", 400, "invalid_json"),
        ('{"imageDigest": "a", "prompts": 7}', 422, "invalid_prompts"),
        ('{"imageDigest": "a", "prompts": null}', 422, "no_prompts"),
        ('{"imageDigest": 7, "prompts": []}', 422, "invalid_option"),
        ('{"imageDigest": "a", "prompts": [], "model_type": 7}', 422, "invalid_option"),
        ('{"image": "###", "prompts": []}', 400, "invalid_base64"),
        ('{"image": null, "prompts": []}', 400, "missing_image"),
        ('{"image": "", "imageId": "a", "prompts": []}', 422, "several_images"),
    ],
)
def test_json_that_cannot_be_asked_is_refused(
    gateway: Gateway, torchserve: FakeTorchServe, body: str, status: int, code: str
) -> None:
    assert failure(gateway.ask("POST", "/segment", data=body, headers=JSON), status) == code
    assert torchserve.requests == []


def test_other_bodies_and_parameters_are_refused(gateway: Gateway) -> None:
    assert failure(gateway.ask("POST", "/segment", data=png()), 415) == "unsupported_body"
    body = {"imageDigest": "a", "prompts": [POINT], "format": "masks"}
    assert failure(gateway.ask("POST", "/segment?fromat=masks", json=body), 422) == "invalid_request"
    assert failure(gateway.ask("POST", "/segment?format=masks", json=body), 422) == "invalid_option"


def test_a_thousand_prompts_go_to_the_worker_and_so_do_too_many(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    many = [{"points": [[20, 15]] * 10, "labels": [1] * 10}] * 1000
    answer = gateway.ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": many})
    assert answer.status_code == 200, answer.text
    assert len(torchserve.requests[0][1]["prompts"]) == 1000
    torchserve.script = [(422, b'{"error": {"code": "too_many_prompts", "message": "10000 were given"}}')]
    answer = gateway.ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": [POINT] * 10_000})
    assert failure(answer, 422) == "too_many_prompts"


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (
            (422, b'{"error": {"code": "invalid_labels", "message": "prompts[0].labels: 2 for 1"}}'),
            422,
            "invalid_labels",
        ),
        (MISSING, 404, "embedding_missing"),
        (BUSY, 503, "torchserve_busy"),
        (NO_MODEL, 501, "variant_unavailable"),
        (WORKER_DIED, 503, "worker_died"),
        (HANG_UP, 503, "answer_lost"),
        ((500, b'{"error": {"code": "internal_error", "message": "x"}}'), 500, "internal_error"),
        ((507, b'{"error": {"code": "out_of_memory", "message": "x"}}'), 507, "out_of_memory"),
        ((307, b""), 502, "redirected"),
        ((200, b"{}"), 502, "invalid_answer"),
    ],
)
def test_an_error_of_the_worker_is_passed_on_without_its_address(  # noqa: PLR0917 - a table's columns
    gateway: Gateway,
    torchserve: FakeTorchServe,
    caplog: pytest.LogCaptureFixture,
    given: Answer,
    status: int,
    code: str,
) -> None:
    torchserve.script = [given]
    answer = gateway.ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": [POINT]})
    assert failure(answer, status) == code
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert torchserve.url.rpartition(":")[2] not in answer.text
    assert "models list" not in answer.text
    if code == "answer_lost":
        assert torchserve.url in caplog.text, "the operator is told"


def test_an_answer_without_prompts_is_none(
    gateway: Gateway, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker from before prompts would measure everything."""

    def everything(body: dict[str, Any]) -> bytes:
        del body["prompts"]
        return FakeTorchServe.result(torchserve, body)

    monkeypatch.setattr(torchserve, "result", everything)
    answer = gateway.ask("POST", "/segment", json={"image": BASE64, "prompts": [POINT]})
    assert failure(answer, 502) == "invalid_answer"


def test_a_torchserve_that_is_away_is_told_without_its_address(start: Start) -> None:
    away = start(torchserve=TorchServe("http://127.0.0.1:1", None))
    answer = away.ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": [POINT]})
    assert failure(answer, 503) == "torchserve_unreachable"
    assert "127.0.0.1" not in answer.text
    answer = start(torchserve=None).ask("POST", "/segment", json={"imageDigest": "ab" * 32, "prompts": [POINT]})
    assert failure(answer, 501) == "variant_unavailable"


# Uploaded images, keys and tenants ------------------------------------------------------------------------------------


def by_id(gateway: Gateway, image_id: str, key: str | None = None) -> Any:
    return gateway.ask("POST", "/segment", key, json={"imageId": image_id, "prompts": [POINT]})


def sent(torchserve: FakeTorchServe) -> list[str]:
    return [next(name for name in ("image", "imageDigest") if name in body) for _, body in torchserve.requests]


def test_an_uploaded_image_is_read_once_and_again_where_no_worker_keeps_it(
    gateway: Gateway, torchserve: FakeTorchServe
) -> None:
    image_id = gateway.upload(png())
    for _ in range(2):
        answer = by_id(gateway, image_id)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metadata"]["imageId"] == image_id
    assert sent(torchserve) == ["image", "imageDigest"]
    assert torchserve.requests[1][1]["imageDigest"] == digest(png())
    torchserve.script = [MISSING]
    assert by_id(gateway, image_id).status_code == 200
    assert sent(torchserve)[2:] == ["imageDigest", "image"]
    figures = gateway.ask("GET", "/metrics").text
    for how, count in (("image", 2), ("digest", 1), ("missing", 1)):
        assert f'grainserve_segments_total{{how="{how}",variant="fast"}} {count}.0' in figures
    assert 'grainserve_segment_seconds_count{variant="fast"} 4.0' in figures


def test_a_deleted_image_is_not_answered_any_more(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    image_id = gateway.upload(png())
    assert by_id(gateway, image_id).status_code == 200
    assert gateway.ask("DELETE", f"/image-analysis?imageId={image_id}").status_code == 204
    assert failure(by_id(gateway, image_id), 404) == "image_not_found"
    assert len(torchserve.requests) == 1


def test_an_image_whose_deletion_was_interrupted_is_not_answered(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    store, image_id = gateway.service.store, gateway.upload(png())
    job, generation = store._records.read(image_id)
    store._records.swap(job.failed(DELETED), generation)
    assert failure(by_id(gateway, image_id), 404) == "image_not_found"
    assert torchserve.requests == []


def test_an_image_under_an_id_that_was_deleted_is_the_new_one(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    again: dict[str, Any] = {"headers": {"Idempotency-Key": "sample 17"}}
    image_id = gateway.upload(png(), **again)
    assert by_id(gateway, image_id).status_code == 200
    assert gateway.ask("DELETE", f"/image-analysis?imageId={image_id}").status_code == 204
    assert gateway.upload(png(), **again) == image_id
    assert by_id(gateway, image_id).status_code == 200
    assert sent(torchserve) == ["image", "image"]


def test_the_tenant_is_the_keys_name_whatever_the_caller_says(start: Start, torchserve: FakeTorchServe) -> None:
    known, (mine, theirs) = keys(Caller("lab"), Caller("other"))
    gateway = start(keys=known)
    image_id = gateway.upload(png(), mine)
    assert failure(by_id(gateway, image_id, theirs), 404) == "image_not_found"
    assert failure(by_id(gateway, image_id), 401) == "unauthorized"
    assert torchserve.requests == []
    body = {"imageDigest": digest(png()), "prompts": [POINT]}
    for key in (mine, theirs):
        gateway.ask("POST", "/segment", key, json=body, headers={"grainserve-tenant": "lab"})
    assert [each["grainserve-tenant"] for each in torchserve.headers] == ["lab", "other"]


def test_without_keys_there_is_no_tenant(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    body = {"imageDigest": digest(png()), "prompts": [POINT]}
    assert gateway.ask("POST", "/segment", json=body, headers={"grainserve-tenant": "lab"}).status_code == 200
    assert "grainserve-tenant" not in torchserve.headers[0]


def test_a_keys_rate_and_size_hold_for_prompts(start: Start) -> None:
    known, (slow, small) = keys(Caller("slow", requests_per_minute=2), Caller("small", max_bytes=100))
    gateway = start(keys=known)
    body = {"imageDigest": "ab" * 32, "prompts": [POINT]}
    assert [gateway.ask("POST", "/segment", slow, json=body).status_code for _ in range(5)] == [200] * 4 + [429]
    for asked in ({"json": body | {"imageDigest": None, "image": BASE64}}, {"files": {"file": png()}, "data": POINTED}):
        assert failure(gateway.ask("POST", "/segment", small, **asked), 413) == "too_many_bytes"


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(torchserve: FakeTorchServe) -> Iterator[threading.Event]:
    """Lets TorchServe wait with its answers until the event is set."""
    go_on = threading.Event()

    def wait() -> None:
        go_on.wait(60)

    torchserve.before_answer = wait
    yield go_on
    go_on.set()


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


@pytest.mark.timeout(60)
def test_prompts_leave_threads_for_uploads(start: Start, torchserve: FakeTorchServe, waiting: threading.Event) -> None:
    """More of them wait for TorchServe than there are threads for routes."""
    gateway = start(segments=50, limits=Limits(share=1, reads=60))
    body = {"imageDigest": "ab" * 32, "prompts": [POINT]}
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(gateway.ask, "POST", "/segment", json=body) for _ in range(50)]
        try:
            until(lambda: len(torchserve.requests) == 50)
            answer = gateway.ask("POST", "/segment", json=body)
            assert failure(answer, 503) == "busy"
            assert "50 segmentations" in answer.text
            image_id = gateway.upload(png())
            assert gateway.ask("GET", f"/image-analysis?imageId={image_id}").status_code == 202
        finally:
            waiting.set()
        assert {each.result().status_code for each in asked} == {200}


def test_one_keys_prompts_leave_places_for_others(
    start: Start, torchserve: FakeTorchServe, waiting: threading.Event
) -> None:
    known, (theirs, mine) = keys(Caller("busy"), Caller("lab"))
    gateway = start(keys=known, segments=2)
    body = {"imageDigest": "ab" * 32, "prompts": [POINT]}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.ask, "POST", "/segment", theirs, json=body)
        until(lambda: len(torchserve.requests) == 1)
        assert failure(gateway.ask("POST", "/segment", theirs, json=body), 503) == "busy"
        second = pool.submit(gateway.ask, "POST", "/segment", mine, json=body)
        until(lambda: len(torchserve.requests) == 2)
        waiting.set()
        assert [each.result().status_code for each in (first, second)] == [200, 200]


def begun(gateway: Gateway, kind: str) -> socket.socket:
    """Begins a request that sends nothing more."""
    where = urlsplit(gateway.url)
    drip = socket.create_connection((where.hostname, where.port), 30)
    head = f"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
    drip.sendall(head.encode() + b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nhalf")
    return drip


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_drips_is_given_up(gateway: Gateway, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.2)
    with begun(gateway, kind) as drip, drip.makefile("rb") as answers:
        answer = answers.read()  # to the end: the gateway hangs up
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"too_slow"' in answer


def test_a_client_that_hangs_up_gives_its_place_back(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grainserve.gateway")
    gateway = start(segments=1)
    body = {"imageDigest": "ab" * 32, "prompts": [POINT]}
    with begun(gateway, "application/json"):
        until(lambda: gateway.ask("POST", "/segment", json=body).status_code == 503)
    until(lambda: gateway.ask("POST", "/segment", json=body).status_code == 200)
    assert not [record for record in caplog.records if record.exc_info]
