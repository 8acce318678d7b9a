from __future__ import annotations

import base64
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from grainserve.errors import (
    AnswerLost,
    EmbeddingMissing,
    GrainserveError,
    HandlerFailed,
    ImageRejected,
    ModelNotFound,
    StorageUnreachable,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
    WorkerDied,
)
from grainserve.storage.bucket import Bucket, check_emulator
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management
from tests.unit.client.fake_torchserve import (
    BUSY,
    HANG_UP,
    NO_MODEL,
    PREDICTION_FAILED,
    TOO_LARGE,
    WORKER_DIED,
    Answer,
    FakeTorchServe,
)
from tests.unit.client.made import make_result


@pytest.fixture
def server(torchserve: FakeTorchServe) -> TorchServe:
    return TorchServe(torchserve.url, torchserve.url)


def predict(server: TorchServe) -> dict[str, object]:
    return server.predict("sam_tiny", None, b"\x00image", {"min_area": 3}, "id-1")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "c" * 10**6, "message": "m" * 10**6}},
        {"error": {"code": ["c" * 10**6], "message": {"m": "m" * 10**6}}},
        {"code": 503, "type": "t" * 10**6, "message": "m" * 10**6},
    ],
)
@pytest.mark.parametrize("status", [404, 415, 500, 503])
def test_words_of_an_answer_are_cut(
    server: TorchServe, torchserve: FakeTorchServe, status: int, body: dict[str, object]
) -> None:
    torchserve.script = [(status, json.dumps(body).encode())]
    with pytest.raises(TorchServeError) as caught:
        predict(server)
    assert len(caught.value.code) <= 1000
    assert len(str(caught.value)) < 3000


def test_predict_sends_image_options_and_id(server: TorchServe, torchserve: FakeTorchServe) -> None:
    assert predict(server)["metadata"]
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny"
    assert body == {"image": base64.b64encode(b"\x00image").decode(), "imageId": "id-1", "min_area": 3}


@pytest.mark.parametrize(
    ("image", "sent"),
    [(b"\x00image", {"image": base64.b64encode(b"\x00image").decode()}), ("ab" * 32, {"imageDigest": "ab" * 32})],
)
def test_prompts_go_with_the_image_or_with_its_digest(
    server: TorchServe, torchserve: FakeTorchServe, image: bytes | str, sent: dict[str, str]
) -> None:
    prompts: list[dict[str, Any]] = [{"points": [[3, 4]], "labels": [1]}, {"box": [1, 2, 30, 40]}]
    assert server.segment("sam_tiny-prompt", None, image, prompts, "id-1", options={"um_per_px": 2.5}, tenant="lab-a")
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny-prompt"
    assert body == {**sent, "prompts": prompts, "um_per_px": 2.5, "imageId": "id-1"}
    assert torchserve.headers[0]["grainserve-tenant"] == "lab-a"


def test_an_embedding_that_no_worker_keeps_has_its_own_error(server: TorchServe, torchserve: FakeTorchServe) -> None:
    torchserve.script = [(404, json.dumps({"error": {"code": "embedding_missing", "message": "send it"}}).encode())]
    with pytest.raises(EmbeddingMissing, match="send it"):
        server.segment("sam_tiny-prompt", None, "ab" * 32, [{"points": [[3, 4]]}], "id-1")


def test_every_prediction_opens_a_connection_so_that_a_service_spreads_them() -> None:
    callers: list[int] = []

    class Keeping(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.close_connection = False  # whatever the client asks for
            callers.append(self.client_address[1])
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(make_result("id-1")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as keeping:
        threading.Thread(target=keeping.serve_forever, daemon=True).start()
        server = TorchServe(f"http://127.0.0.1:{keeping.server_port}", None)
        for _ in range(3):
            predict(server)
        keeping.shutdown()
    assert len(set(callers)) == 3


CASES: list[tuple[Answer, type[GrainserveError], str]] = [
    (BUSY, TorchServeBusy, "torchserve_busy"),
    (
        (503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "Capacity exceeded"}'),
        TorchServeBusy,
        "torchserve_busy",
    ),
    ((307, b""), HandlerFailed, "redirected"),
    ((308, b'{"error": {"code": "x", "message": "x"}}'), HandlerFailed, "redirected"),
    ((503, b"<html>no upstream</html>"), TorchServeBusy, "torchserve_busy"),
    ((429, b""), TorchServeBusy, "torchserve_busy"),
    ((502, b"bad gateway"), TorchServeBusy, "torchserve_busy"),
    (PREDICTION_FAILED, HandlerFailed, "InternalServerException"),
    (WORKER_DIED, WorkerDied, "worker_died"),
    (NO_MODEL, ModelNotFound, "model_not_found"),
    (
        (404, b'{"code": 404, "type": "ModelVersionNotFoundException", "message": "Model version: 9 not found"}'),
        ModelNotFound,
        "model_not_found",
    ),
    (TOO_LARGE, ImageRejected, "image_too_large"),
    ((415, b'{"error": {"code": "not_an_image", "message": "x"}}'), ImageRejected, "not_an_image"),
    ((422, b'{"error": {"code": "invalid_option", "message": "x"}}'), ImageRejected, "invalid_option"),
    ((413, b""), ImageRejected, "too_many_bytes"),
    ((500, b'{"error": {"code": "internal_error", "message": "x"}}'), HandlerFailed, "internal_error"),
    ((507, b'{"error": {"code": "out_of_memory", "message": "x"}}'), HandlerFailed, "out_of_memory"),
    (
        (507, b'{"code": 507, "type": "InternalServerException", "message": "Out of memory"}'),
        HandlerFailed,
        "InternalServerException",
    ),
    (
        (405, b'{"code": 405, "type": "MethodNotAllowedException", "message": "x"}'),
        TorchServeUnreachable,
        "torchserve_unreachable",
    ),
    (
        (404, b'{"code": 404, "type": "ResourceNotFoundException", "message": "Requested resource is not found"}'),
        TorchServeUnreachable,
        "torchserve_unreachable",
    ),
    ((400, b"[]"), TorchServeUnreachable, "torchserve_unreachable"),
    (
        (401, b'{"error": {"code": "unauthorized", "message": "no valid API key: this gateway wants one"}}'),
        TorchServeUnreachable,
        "torchserve_unreachable",
    ),
    ((404, b'{"error": {"code": "not_found", "message": "x"}}'), TorchServeUnreachable, "torchserve_unreachable"),
    ((401, b"who are you?"), TorchServeUnreachable, "torchserve_unreachable"),
    ((404, b"default backend - 404"), TorchServeUnreachable, "torchserve_unreachable"),
    (
        (400, b'{"code": 400, "type": "BadRequestException", "message": "Parameter is required"}'),
        ImageRejected,
        "BadRequestException",
    ),
    ((200, b"not json"), HandlerFailed, "invalid_answer"),
    ((200, b"[]"), HandlerFailed, "invalid_answer"),
    ((200, b'{"metadata": {}}'), HandlerFailed, "invalid_answer"),
    ((200, b'{"metadata": null, "segmentedObjects": "moved"}'), HandlerFailed, "invalid_answer"),
    ((200, json.dumps(make_result("id-2")).encode()), HandlerFailed, "invalid_answer"),
    ((200, json.dumps(make_result("../id-1")).encode()), HandlerFailed, "invalid_answer"),
    ((200, b"[" * 100_000), HandlerFailed, "invalid_answer"),
    ((200, b'{"metadata": ' + b"[" * 900 + b"]" * 900 + b', "segmentedObjects": []}'), HandlerFailed, "invalid_answer"),
    ((200, b'{"metadata": {}, "segmentedObjects": [NaN]}'), HandlerFailed, "invalid_answer"),
    ((200, b'{"metadata": {}, "segmentedObjects": [1e999]}'), HandlerFailed, "invalid_answer"),
    (HANG_UP, AnswerLost, "answer_lost"),
]


@pytest.mark.parametrize(("answer", "kind", "code"), CASES, ids=[f"{case[0][0]}-{case[2]}" for case in CASES])
def test_each_answer_has_its_error_and_is_asked_for_once(
    server: TorchServe, torchserve: FakeTorchServe, answer: Answer, kind: type[GrainserveError], code: str
) -> None:
    torchserve.script = [answer]
    with pytest.raises(kind) as error:
        predict(server)
    assert type(error.value) is kind
    assert error.value.code == code
    assert str(error.value)
    assert len(torchserve.requests) == 1  # no silent second try


def test_half_a_letter_in_an_answer_is_replaced(server: TorchServe, torchserve: FakeTorchServe) -> None:
    """Half a character is valid JSON without UTF-8: a result with one could never be stored."""
    result = make_result("id-1")
    result["metadata"]["warnings"] = ["whole \U0001f600", "half \ud83d"]
    torchserve.script = [
        (200, json.dumps(result).encode()),
        (422, b'{"error": {"code": "invalid_option", "message": "label is \\ud800"}}'),
    ]
    answer = server.predict("sam_tiny", None, b"image", {}, "id-1")
    assert answer["metadata"]["warnings"] == ["whole \U0001f600", "half ?"]
    with pytest.raises(ImageRejected, match=r"label is \?"):
        predict(server)


def test_nothing_follows_a_redirect(torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither images, nor requests to management, nor stored objects go elsewhere."""

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"models": []}'
            self.send_response(307)
            self.send_header("Location", torchserve.url + self.path)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    torchserve.management |= {path: {} for path in ("/storage/v1/b/grains/o/x?fields=name&prettyPrint=false", "/")}
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as redirecting:
        threading.Thread(target=redirecting.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{redirecting.server_port}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        server, management = TorchServe(url, url), Management(url)
        with pytest.raises(HandlerFailed, match="redirected elsewhere"):
            predict(server)
        for call in (server.ping, management.models, lambda: management.register("m.mar")):
            with pytest.raises(TorchServeUnreachable):
                call()
        check_emulator()
        bucket = Bucket("grains")
        with pytest.raises(StorageUnreachable, match="307"):
            bucket.create("x", b"1", "text/plain")
        with pytest.raises(StorageUnreachable, match="307"):
            bucket.exists("x")
        redirecting.shutdown()
    assert (torchserve.requests, torchserve.looks) == ([], 0)


def test_a_rejection_carries_status_and_the_handlers_words(server: TorchServe, torchserve: FakeTorchServe) -> None:
    torchserve.script = [TOO_LARGE]
    with pytest.raises(ImageRejected, match="4000 px wide") as error:
        predict(server)
    assert error.value.status == 413


def test_nobody_there(torchserve: FakeTorchServe) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        server = TorchServe(url, url)
        for call in (lambda: predict(server), server.ping, Management(url).models):
            with pytest.raises(TorchServeUnreachable, match=url):
                call()


def test_an_answer_that_takes_too_long_is_lost() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = TorchServe(url, url, read_timeout=0.2)
        with pytest.raises(AnswerLost, match="ReadTimeout"):
            predict(server)
