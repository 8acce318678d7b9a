"""Several requests with prompts in one: an error for each item, lines as they end, and limits."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from grainserve.gateway import segmenter
from grainserve.gateway.keys import Caller
from grainserve.gateway.segment_answers import LINES, as_they_end
from grainserve.gateway.segment_requests import MOST_ITEMS
from grainserve.gateway.service import Limits
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.prompted import BOX, POINT, digest, prompting  # noqa: F401
from tests.unit.gateway.test_jobs import failure, keys

pytestmark = pytest.mark.usefixtures("prompting")
BASE64 = base64.b64encode(png()).decode()
ITEM = {"imageDigest": "ab" * 32, "prompts": [POINT]}


def test_each_item_has_a_result_or_an_error_of_its_own(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    image_id = gateway.upload(png())
    items = [
        {"imageId": image_id, "prompts": [POINT], "um_per_px": 2.5},
        {"image": BASE64, "prompts": [BOX, POINT]},
        {"imageId": "f" * 32, "prompts": [POINT]},
        {"image": BASE64},
        {"image": "aGVsbG8=", "prompts": [POINT]},
        7,
        ITEM | {"model_type": "vit_x"},
    ]
    answer = gateway.ask("POST", "/segment_batch", json={"items": items})
    assert answer.status_code == 200, answer.text
    ended = answer.json()["items"]
    assert [each["index"] for each in ended] == list(range(7))
    assert [each["status"] for each in ended] == [200, 200, 404, 422, 415, 422, 422]
    assert ended[0]["result"]["metadata"]["imageId"] == image_id
    assert ended[0]["result"]["metadata"]["units"]["umPerPx"] == 2.5
    assert len(ended[1]["result"]["prompts"]) == 2
    codes = ["image_not_found", "no_prompts", "not_an_image", "invalid_items", "unknown_variant"]
    assert [each["error"]["code"] for each in ended[2:]] == codes
    assert len(torchserve.requests) == 2


def test_a_form_has_files_and_prompts_for_each(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    files = [("file", png()), ("file", png(32, 32))]
    fields = {"prompts": json.dumps([[POINT], [BOX]]), "um_per_px": "2.5", "model_type": "fast"}
    answer = gateway.ask("POST", "/segment_batch", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    results = [each["result"] for each in answer.json()["items"]]
    assert [each["imageDigest"] for each in results] == [digest(png()), digest(png(32, 32))]
    assert all(each["masks"] for each in results)
    assert {json.dumps(body["prompts"]) for _, body in torchserve.requests} == {json.dumps([POINT]), json.dumps([BOX])}
    assert {body["um_per_px"] for _, body in torchserve.requests} == {2.5}


@pytest.mark.parametrize(("count", "accept", "lines"), [(8, "*/*", False), (9, "*/*", True), (2, LINES, True)])
def test_large_batches_and_those_who_ask_get_lines(gateway: Gateway, count: int, accept: str, lines: bool) -> None:
    answer = gateway.ask("POST", "/segment_batch", json={"items": [ITEM] * count}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    if lines:
        assert answer.headers["Content-Type"] == LINES
        ended = [json.loads(line) for line in answer.text.splitlines()]
    else:
        ended = answer.json()["items"]
    assert sorted(each["index"] for each in ended) == list(range(count))
    assert all("segmentedObjects" in each["result"] for each in ended)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"items": []}, "invalid_items"),
        ({"items": 7}, "invalid_items"),
        ({}, "invalid_items"),
        ({"items": [ITEM] * (MOST_ITEMS + 1)}, "invalid_items"),
        ({"items": [ITEM], "um_per_px": 2}, "invalid_option"),
        ({"items": [ITEM], "format": "svg"}, "invalid_option"),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(
    gateway: Gateway, torchserve: FakeTorchServe, body: dict[str, Any], code: str
) -> None:
    assert failure(gateway.ask("POST", "/segment_batch", json=body), 422) == code
    assert torchserve.requests == []


def test_a_form_has_as_many_lists_as_files(gateway: Gateway) -> None:
    for prompts in ("[]", json.dumps([POINT]), "{}", "["):
        answer = gateway.ask("POST", "/segment_batch", files={"file": png()}, data={"prompts": prompts + " "})
        if prompts != json.dumps([POINT]):
            assert failure(answer, 422) == "invalid_prompts"
        else:  # a prompt in a list's place is that item's error
            assert answer.json()["items"][0]["error"]["code"] == "invalid_prompts"
    many = [("file", png(8, 8))] * (MOST_ITEMS + 1)
    assert gateway.ask("POST", "/segment_batch", files=many, data={"prompts": "[]"}).status_code == 400


def test_each_item_counts_against_the_rate(start: Start) -> None:
    known, (slow,) = keys(Caller("slow", requests_per_minute=2))
    answer = start(keys=known).ask("POST", "/segment_batch", slow, json={"items": [ITEM] * 6})
    assert sorted(each["status"] for each in answer.json()["items"]) == [200] * 4 + [429] * 2


def test_an_image_of_a_batch_is_no_larger_than_the_key_allows(start: Start) -> None:
    known, (small,) = keys(Caller("small", max_bytes=100))
    items = [{"image": BASE64, "prompts": [POINT]}, ITEM]
    answer = start(keys=known).ask("POST", "/segment_batch", small, json={"items": items})
    assert [each["status"] for each in answer.json()["items"]] == [413, 200]


def test_a_fault_of_ours_is_one_items(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    as_ever = segmenter.Segmenter.result

    def faulty(self: segmenter.Segmenter, asked: Any, *more: Any) -> dict[str, Any]:
        return as_ever(self, asked, *more) if len(asked.prompts) == 1 else asked.fault

    monkeypatch.setattr(segmenter.Segmenter, "result", faulty)
    items = [ITEM, ITEM | {"prompts": [POINT, POINT]}]
    answer = gateway.ask("POST", "/segment_batch", json={"items": items})
    assert [each["status"] for each in answer.json()["items"]] == [200, 500]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("accept", ["*/*", LINES])
def test_a_client_that_hangs_up_stops_the_rest(start: Start, torchserve: FakeTorchServe, accept: str) -> None:
    gateway = start(segments=2, limits=Limits(share=1))
    places = threading.Semaphore(0)

    def wait() -> None:
        places.acquire(timeout=60)

    torchserve.before_answer = wait
    where = urlsplit(gateway.url)
    count = 8 if accept == "*/*" else MOST_ITEMS
    body = json.dumps({"items": [ITEM] * count}).encode()
    head = (
        f"POST /segment_batch HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port), 30) as client:
        client.sendall(head.encode() + body)
        while len(torchserve.requests) < 2:
            time.sleep(0.01)
    places.release(MOST_ITEMS + 1)
    while (answer := gateway.ask("POST", "/segment", json=ITEM)).status_code == 503:
        time.sleep(0.01)
    assert answer.status_code == 200
    assert len(torchserve.requests) < 8, "items that nobody waits for are not asked"


def test_work_begins_as_its_results_are_taken() -> None:
    async def scene() -> None:
        begun: list[int] = []
        go_on = [asyncio.Event() for _ in range(9)]

        async def work(index: int) -> int:
            begun.append(index)
            await go_on[index].wait()
            return index

        async with aclosing(as_they_end((partial(work, index) for index in range(9)), 3)) as each:
            go_on[1].set()
            assert await anext(each) == 1
            assert begun == [0, 1, 2]
            go_on[3].set()
            assert await anext(each) == 3
            assert begun == [0, 1, 2, 3]
            go_on[0].set()  # those under way are waited for
            go_on[2].set()
        assert begun == [0, 1, 2, 3]

    asyncio.run(scene())


def test_answers_too_large_to_hold_are_to_be_asked_for_as_lines(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grainserve.gateway.segment.HELD", 1500)
    body = {"items": [ITEM, ITEM, ITEM]}
    answer = gateway.ask("POST", "/segment_batch", json=body)
    assert failure(answer, 422) == "answer_too_large"
    lines = gateway.ask("POST", "/segment_batch", json=body, headers={"Accept": LINES})
    assert len(lines.text.splitlines()) == 3


@pytest.mark.parametrize("image_id", ["x" * 1_000_000, "\U000e0001" * 100_000, ["x" * 1_000_000]])
def test_a_refused_image_id_is_not_repeated(gateway: Gateway, image_id: object) -> None:
    answer = gateway.ask("POST", "/segment", json={"imageId": image_id, "prompts": [POINT]})
    assert answer.status_code in (404, 422)
    assert len(answer.content) < 1500
