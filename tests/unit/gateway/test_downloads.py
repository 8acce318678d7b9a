"""Downloads of images and results."""

from __future__ import annotations

import io
import json
import socket
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from google.cloud import storage
from PIL import Image

from grainserve.gateway import downloads as sending
from grainserve.gateway.downloads import disposition
from grainserve.gateway.keys import Caller
from grainserve.gateway.service import Limits
from grainserve.gateway.uploads import content_type
from grainserve.storage.bucket import PART
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import failure, keys

LARGE = png() + bytes(20_000_000)


@contextmanager
def reading(gateway: Gateway, count: int, image_id: str, key: str) -> Iterator[None]:
    """Opens readers of an image that have its beginning and read no further."""
    where = urlsplit(gateway.url)
    ask = f"GET /images/{image_id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    made = [socket.create_connection((where.hostname, where.port), timeout=30) for _ in range(count)]
    try:
        for each in made:
            each.sendall(ask)
        for each in made:
            assert each.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 503")
        yield
    finally:
        for each in made:
            each.close()


def test_slow_readers_of_one_key_shut_out_no_other(start: Start) -> None:
    known, (theirs, mine) = keys(Caller("slow"), Caller("lab"))
    gateway = start(keys=known, limits=Limits(reads=4))
    large, small = gateway.upload(LARGE, theirs), gateway.upload(png(), mine)
    with reading(gateway, 4, large, theirs):
        answer = gateway.ask("GET", f"/images/{large}", theirs)
        assert failure(answer, 503) == "busy"
        assert answer.headers["Retry-After"] == "1"
        assert gateway.ask("GET", f"/images/{small}", mine).content == png()
    while (answer := gateway.ask("GET", f"/images/{large}", theirs)).status_code == 503:
        pass  # wait until the gateway has noticed that they are gone
    assert answer.content == LARGE


def test_a_reader_holds_a_part_and_no_copy(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    known, (key,) = keys(Caller("slow"))
    gateway = start(keys=known)
    taken = 0
    opened = gateway.service.store.open_image

    def counting(image_id: str) -> Any:
        found = opened(image_id)

        def parts() -> Iterator[bytes]:
            nonlocal taken
            for part in found.parts:
                assert len(part) <= PART
                taken += len(part)
                yield part

        return type(found)(found.size, parts())

    monkeypatch.setattr(gateway.service.store, "open_image", counting)
    image_id = gateway.upload(LARGE, key)
    with reading(gateway, 1, image_id, key):
        gateway.ask("GET", "/healthz")
    assert taken < len(LARGE), "what the network has no room for stays in the bucket"


def test_results_under_way_are_bounded_in_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(dispatch=True, limits=Limits(read_bytes=1_000_000))
    image_id = gateway.upload(png())
    expected = gateway.until_done(image_id).json()
    padded = expected | {"padding": "x" * 30_000_000}
    monkeypatch.setattr(gateway.service.store, "result", lambda _: padded)
    where = urlsplit(gateway.url)
    ask = f"GET /image-analysis?imageId={image_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with socket.create_connection((where.hostname, where.port), timeout=30) as slow:
        slow.sendall(ask)
        assert slow.recv(12) == b"HTTP/1.1 200"
        answer = gateway.ask("GET", f"/image-analysis?imageId={image_id}")
        assert failure(answer, 503) == "busy"
    while (answer := gateway.ask("GET", f"/image-analysis?imageId={image_id}")).status_code == 503:
        pass
    assert json.loads(answer.content) == padded


def test_an_image_that_spoils_on_its_way_breaks_off(
    start: Start, gcs: storage.Client, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The image is deleted after its first part; the reader knows the size, and sees that the rest is missing."""
    known, (key,) = keys(Caller("lab"))
    gateway = start(keys=known)
    image_id = gateway.upload(LARGE, key)
    with gateway_session(gateway, image_id, key) as answer:
        gcs.bucket(bucket_name).blob(f"images/{image_id}").delete()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for _ in answer.iter_content(PART):
                pass
    assert not [record for record in caplog.records if record.exc_info], "a line, not a traceback"
    assert sending.__name__ in {record.name for record in caplog.records}


@contextmanager
def gateway_session(gateway: Gateway, image_id: str, key: str) -> Iterator[requests.Response]:
    with gateway.ask("GET", f"/images/{image_id}", key, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(LARGE))
        yield answer


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_an_image_is_called_what_it_is(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    assert content_type(file.getvalue()) == Image.MIME[kind]


@pytest.mark.parametrize("data", [b"", b"<script>", b"RIFF1234WAVE", b"GIF89a"])
def test_what_is_no_image_is_not_called_one(data: bytes) -> None:
    assert content_type(data) == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("sand.zip", "sand.zip"),
        ("Düne “a”.zip", "D_ne _a_.zip"),
        ('a"; filename="x.exe', "a_; filename=_x.exe"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie: x"),
        ("../a\\b/c\u2028.pdf", ".._a_b_c_.pdf"),
    ],
)
def test_a_name_of_a_file_is_one_header_whatever_it_holds(name: str, plain: str) -> None:
    header = disposition(name)
    assert header.startswith(f"attachment; filename=\"{plain}\"; filename*=UTF-8''")
    assert header.isascii()
    assert header.isprintable()
    coded = header.rpartition("''")[2]
    assert set(coded) <= set(string.ascii_letters + string.digits + "-._~%")
    assert disposition(name, shown=True) == header.replace("attachment", "inline", 1)
