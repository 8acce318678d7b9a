"""Uploads: options in every place where they may be, and the cost of many, slow and large uploads."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.tiff_kinds import LAYOUTS, pixels, written
from grainserve.gateway import bodies, uploads
from grainserve.gateway.keys import Caller
from grainserve.gateway.service import AT_ONCE, Limits
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import failure, keys

Names = Callable[[], set[str]]

FORMS: dict[str, Callable[..., dict[str, Any]]] = {
    "json": lambda **options: {"json": {"image": base64.b64encode(png()).decode(), **options}},
    "multipart": lambda **options: {"files": {"image": png()}, "data": options},
    "raw": lambda **_: {"data": png()},
}


@pytest.mark.parametrize("form", FORMS)
def test_options_in_the_query_count_whatever_the_body_is(gateway: Gateway, form: str) -> None:
    answer = gateway.ask("POST", "/upload?um_per_px=2.5&label=", **FORMS[form](min_area=7))
    assert answer.status_code == 202, answer.text
    expected = {"um_per_px": 2.5} | ({} if form == "raw" else {"min_area": 7})
    assert gateway.service.store.job(answer.json()["imageId"]).options == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["nonsense=1", "min_area=7&min_area=8", "image=x"])
def test_a_query_that_would_not_count_is_refused(gateway: Gateway, names: Names, form: str, query: str) -> None:
    assert failure(gateway.ask("POST", f"/upload?{query}", **FORMS[form]()), 422) == "invalid_option"
    assert names() == set()


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_an_option_is_given_once(gateway: Gateway, names: Names, form: str) -> None:
    answer = gateway.ask("POST", "/upload?min_area=7", **FORMS[form](min_area=7))
    assert failure(answer, 422) == "invalid_option"
    assert "min_area" in answer.text
    assert names() == set()


def test_a_field_of_a_form_is_given_once(gateway: Gateway, names: Names) -> None:
    answer = gateway.ask("POST", "/upload", files={"image": png()}, data=[("min_area", "7"), ("min_area", "8")])
    assert failure(answer, 422) == "invalid_option"
    assert names() == set()


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_misspelt_parameter_is_refused(gateway: Gateway, names: Names, method: str) -> None:
    image_id = gateway.upload(png())
    answer = gateway.ask(method, f"/image-analysis?imageId={image_id}&fromat=csv")
    assert failure(answer, 422) == "invalid_request"
    assert "fromat" in answer.text
    assert any(image_id in name for name in names())


def test_an_empty_idempotency_key_is_refused(gateway: Gateway, names: Names) -> None:
    answer = gateway.ask("POST", "/upload", data=png(), headers={"Idempotency-Key": ""})
    assert failure(answer, 422) == "invalid_request"
    assert "Idempotency-Key" in answer.text
    assert names() == set()


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna"])
def test_a_form_in_a_charset_that_fails_is_refused(gateway: Gateway, names: Names, charset: str) -> None:
    body = b"--e\r\nContent-Disposition: form-data; name=label\r\n\r\n\xff.xn--\xff-.\r\n--e--\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary=e; charset={charset}"}
    assert failure(gateway.ask("POST", "/upload", data=body, headers=kind), 400) in ("invalid_form", "missing_image")
    assert names() == set()


@pytest.mark.parametrize("form", ["raw", "multipart", "json"])
@pytest.mark.parametrize(
    ("layout", "dtype", "words", "named"),
    [
        ("5 bands", "uint8", {}, "5 × uint8 grey"),
        ("L*a*b*", "float32", {}, "3 × float32 CIE L*a*b*"),
        ("CMYK", "int32", {}, "4 × int32 CMYK"),
        ("grey", "uint16", {"compression": "jpeg2000"}, "JPEG 2000 of 1 × uint16 grey"),
        ("RGB", "float32", {"compression": "lerc"}, "LERC of 3 × float32 RGB"),
    ],
)
def test_a_pixel_type_that_is_not_read_is_named_at_upload(  # noqa: PLR0917 - a table's columns
    gateway: Gateway, names: Names, layout: str, dtype: str, words: dict[str, Any], named: str, form: str
) -> None:
    samples, more = LAYOUTS[layout]
    array = pixels(samples, dtype)
    planes = {"planarconfig": "contig"} if samples > 1 else {}
    data = written(array[..., 0] if samples == 1 else array, **more, **planes, **words)
    assert data is not None
    bodies: dict[str, dict[str, Any]] = {
        "raw": {"data": data},
        "multipart": {"files": {"image": data}},
        "json": {"json": {"image": base64.b64encode(data).decode()}},
    }
    answer = gateway.ask("POST", "/upload", **bodies[form])
    assert failure(answer, 415) == "unsupported_format"
    message = answer.json()["error"]["message"]
    assert named in message
    assert "save " in message or "convert " in message
    assert names() == set()


JSON = {"Content-Type": "application/json"}


def test_json_of_millions_of_values_is_not_parsed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("it was"))
    body = b'{"label": [' + b"[]," * 5_000_000 + b"0]}"
    answer = gateway.ask("POST", "/upload", data=body, headers=JSON)
    monkeypatch.undo()
    assert failure(answer, 400) == "invalid_json"


@pytest.mark.parametrize("option", ['"{}": 1', '"label": "{}"', '"mode": ["{}"]'])
def test_a_refusal_is_short_whatever_was_sent(gateway: Gateway, names: Names, option: str) -> None:
    body = '{"image": "", ' + option.format("x" * 5_000_000) + "}"
    answer = gateway.ask("POST", "/upload", data=body, headers=JSON)
    assert failure(answer, 422) == "invalid_option"
    assert len(answer.content) < 1000
    assert names() == set()


@pytest.mark.parametrize("option", ["label", "min_area"])
def test_a_value_however_deep_is_refused(gateway: Gateway, option: str) -> None:
    for depth in range(880, 1000, 10):  # JSON that one parser accepts may be too deep for the next
        body = '{"image": "", "' + option + '": ' + "[" * depth + "]" * depth + "}"
        answer = gateway.ask("POST", "/upload", data=body, headers=JSON)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]["code"] in ("invalid_json", "invalid_option")


@pytest.mark.timeout(20)
def test_a_header_of_millions_of_parts_is_not_walked_through(gateway: Gateway, names: Names) -> None:
    jpeg = png(kind="JPEG")
    answer = gateway.ask("POST", "/upload", data=jpeg[:2] + b"\xff\xfe\0\2" * 4_000_000 + jpeg[2:])
    assert failure(answer, 413) == "decompression_bomb"
    assert names() == set()


@contextmanager
def dripping(
    gateway: Gateway, count: int, kind: str = "image/png", key: str = "", source: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """Begins uploads that send nothing more."""
    where = urlsplit(gateway.url)
    head = (
        f"POST /upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
    )
    begun = b"--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nhalf"
    with ExitStack() as opened:
        drips = [
            opened.enter_context(socket.create_connection((where.hostname, where.port), 10, (source, 0)))
            for _ in range(count)
        ]
        for drip in drips:
            drip.sendall(head.encode() + begun)
        yield drips


@pytest.mark.parametrize("at_once", [AT_ONCE, 2])
def test_more_uploads_than_memory_holds_are_sent_away(start: Start, at_once: int) -> None:
    gateway = start(uploads=at_once)
    with dripping(gateway, at_once):
        while (answer := gateway.ask("POST", "/upload", data=png())).status_code == 202:
            time.sleep(0.01)
        assert failure(answer, 503) == "busy"
        assert f"{at_once} uploads" in answer.text
        assert answer.headers["Retry-After"] == "1"
        assert gateway.ask("GET", "/image-analysis?imageId=a").status_code == 404, "polls go on"
    while gateway.ask("POST", "/upload", data=png()).status_code == 503:
        time.sleep(0.01)
    gateway.upload(png())


@pytest.mark.parametrize("kind", ["image/png", "application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_drips_is_given_up(gateway: Gateway, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.2)
    with dripping(gateway, 1, kind) as (drip,), drip.makefile("rb") as answers:
        answer = answers.read()  # to the end: the gateway hangs up
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"too_slow"' in answer


@pytest.mark.parametrize("step", ["_from_json", "check_any"])
def test_others_are_answered_while_an_upload_is_parsed(
    gateway: Gateway, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing, go_on, as_ever = threading.Event(), threading.Event(), getattr(uploads, step)

    def slow(body: bytes) -> object:
        parsing.set()
        go_on.wait(20)
        return as_ever(body)

    monkeypatch.setattr(uploads, step, slow)
    with ThreadPoolExecutor() as pool:
        upload = pool.submit(gateway.ask, "POST", "/upload", **FORMS["json"]())
        try:
            assert parsing.wait(10)
            assert gateway.ask("GET", "/healthz", timeout=5).status_code == 200
        finally:
            go_on.set()
        assert upload.result().status_code == 202


@pytest.mark.parametrize("kind", ["image/png", "application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_comes_too_slowly_is_given_up(start: Start, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body keeps moving, and would for an hour."""
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "READ_SECONDS", 3600)
    gateway = start(limits=Limits(slowest=10_000_000))
    with dripping(gateway, 1, kind) as (drip,):
        drip.settimeout(0.02)
        answer = b""
        while not answer:
            try:
                drip.sendall(b"x")
                answer = drip.recv(100)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_body_that_comes_fast_enough_is_taken_however_long_it_takes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit for standing still is shorter than the whole upload."""
    monkeypatch.setattr(bodies, "STALL_SECONDS", 3.0)
    gateway = start(limits=Limits(slowest=10))
    body = png() + bytes(1000)
    part = len(body) // 6 + 1

    def slowly() -> Iterator[bytes]:
        for begin in range(0, len(body), part):
            yield body[begin : begin + part]
            time.sleep(0.7)

    assert gateway.ask("POST", "/upload", data=slowly()).status_code == 202


def test_one_keys_dripping_uploads_leave_places_for_others(start: Start) -> None:
    known, (theirs, mine) = keys(Caller("drips"), Caller("lab"))
    gateway = start(keys=known, uploads=4)
    with dripping(gateway, 16, key=theirs):
        while (answer := gateway.ask("POST", "/upload", theirs, data=png())).status_code == 202:
            time.sleep(0.01)
        assert failure(answer, 503) == "busy"
        gateway.upload(png(), mine)


def test_without_keys_an_address_has_a_share(start: Start) -> None:
    gateway = start(uploads=4)
    with dripping(gateway, 16, source="127.0.0.2"):
        gateway.upload(png())


@pytest.mark.parametrize("kind", ["image/png", "application/json", "multipart/form-data; boundary=x"])
def test_an_upload_that_breaks_off_is_a_line_and_no_traceback(
    start: Start, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "grainserve.gateway")
    gateway = start(uploads=1)
    with dripping(gateway, 1, kind):
        while gateway.ask("POST", "/upload", data=png()).status_code == 202:
            time.sleep(0.01)
    while gateway.ask("POST", "/upload", data=png()).status_code == 503:
        time.sleep(0.01)
    while "127.0.0.1 broke its request off" not in caplog.messages:  # its place is free before the line is written
        time.sleep(0.01)
    assert not [record for record in caplog.records if record.exc_info]
