"""Answers from anything in TorchServe's place are bounded, and TorchServe's own answers fit in."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import requests

from grainserve import bounded_json
from grainserve.errors import HandlerFailed, TorchServeBusy, TorchServeError, TorchServeUnreachable
from grainserve.torchserve import answers
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.client.made import make_result
from tools import properties


class Odd(ThreadingHTTPServer):
    """A server that answers with one status and body, with or without its length, or endlessly.

    Attributes:
        accepted: encodings that each request accepts.
    """

    daemon_threads = True

    def __init__(self, status: int, body: bytes, *, headers: dict[str, str], endless: bool) -> None:
        self.accepted: list[str | None] = []
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                odd.accepted.append(self.headers["Accept-Encoding"])
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # a client that has read enough hangs up
                    self.wfile.write(body)
                    while endless:
                        self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def answering(
    status: int, body: bytes, *, headers: dict[str, str] | None = None, endless: bool = False
) -> Iterator[Odd]:
    with Odd(status, body, headers=headers or {}, endless=endless) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def predict(url: str) -> dict[str, object]:
    return TorchServe(url, None).predict("sam_tiny", None, b"image", {}, "id-1")


def test_the_largest_answer_is_torchserves() -> None:
    assert int(properties.read(properties.CONFIG)["max_response_size"]) == answers.LARGEST


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize(("status", "kind"), [(200, HandlerFailed), (500, HandlerFailed), (503, TorchServeBusy)])
def test_an_answer_is_read_no_further_than_its_limit(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[TorchServeError], endless: bool
) -> None:
    monkeypatch.setattr(answers, "LARGEST", 100_000)
    body = json.dumps(make_result("id-1")).encode() + b" " * 100_000
    with answering(status, body, endless=endless) as server, pytest.raises(kind) as error:
        predict(server.url)
    if status == 200:
        assert error.value.code == "invalid_answer"
        assert "more than 100000 bytes" in str(error.value)


def test_an_answer_of_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(make_result("id-1")).encode()
    monkeypatch.setattr(answers, "LARGEST", len(body))
    with answering(200, body, headers={"Content-Length": str(len(body))}) as server:
        assert predict(server.url) == make_result("id-1")


def test_management_is_read_no_further_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LARGEST", 100_000)
    with answering(200, b'{"models": []}' + b" " * 10_000, endless=True) as server:
        with pytest.raises(TorchServeUnreachable, match="no management API"):
            Management(server.url).models()
        with pytest.raises(TorchServeUnreachable, match="no management API"):
            Management(server.url).versions("sam_tiny")


def test_nothing_is_unpacked() -> None:
    """A compressed bomb has a thousandth of its unpacked size."""
    packed = gzip.compress(json.dumps(make_result("id-1")).encode())
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
    with answering(200, packed, headers=headers) as server:
        with pytest.raises(HandlerFailed, match="invalid_answer"):
            predict(server.url)
        assert answers.ask("GET", server.url, (5.0, 60.0)).body == packed
        assert server.accepted == ["identity"] * 2


def test_an_answer_that_breaks_off_is_none(torchserve: FakeTorchServe) -> None:
    with (
        answering(200, b"{}", headers={"Content-Length": "3"}) as server,
        pytest.raises(requests.RequestException),
    ):
        answers.ask("GET", server.url, (5.0, 60.0))


@pytest.mark.parametrize("body", [b"[" + b"[]," * 200_000 + b"0]", b"[" + b'{"a":1},' * 200_000 + b"0]"])
def test_more_arrays_and_objects_than_a_result_of_that_length_has_are_not_parsed(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match="more arrays and objects"):
        bounded_json.parse(body)
    with answering(200, body) as server, pytest.raises(HandlerFailed, match="more arrays and objects"):
        predict(server.url)


def test_the_densest_results_are_parsed() -> None:
    """Outlines of single pixels, grains without masks, and texts full of brackets."""
    board = np.indices((64, 64)).sum(axis=0) % 2 == 0
    outlines = make_result(masks=[board] * 20, mask_format="polygon")
    bare = make_result(masks=[board[:5, :5]] * 3000, mask_format="none")
    texts = make_result(masks=[board[:5, :5]] * 3000)
    for grain in texts["segmentedObjects"]:
        grain["class"] = '\\"[' * 16 + "[{" * 8
        grain["mask"]["counts"] = "[1[O" * 20
    for result in (outlines, bare, texts):
        written = json.dumps(result, separators=(",", ":")).encode()
        assert len(written) > 10 * bounded_json.FREE_PARTS * bounded_json.BYTES_A_PART
        assert bounded_json.parse(written) == result
