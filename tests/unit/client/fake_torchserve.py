"""An imitation of TorchServe 0.12's HTTP API with its exact bodies; answers come from a script."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tests.unit.client.made import disc_masks, make_prompted_result, make_result

Answer = tuple[int, bytes]
BUSY: Answer = (
    503,
    b'{"code": 503, "type": "ServiceUnavailableException", "message": "Model \\"sam_tiny\\" has no worker to serve '
    b'inference request. Please use scale workers API to add workers."}',
)
PREDICTION_FAILED: Answer = (503, b'{"code": 503, "type": "InternalServerException", "message": "Prediction failed"}')
WORKER_DIED: Answer = (500, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}')
NO_MODEL: Answer = (
    404,
    b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: sam_tiny"}',
)
TOO_LARGE: Answer = (
    413,
    b'{"error": {"code": "image_too_large", "message": "the image is 4000 px wide, the limit is 1024: scale it down"}}',
)
EMBEDDING_MISSING: Answer = (
    404,
    b'{"error": {"code": "embedding_missing", "message": "no worker keeps this image: send it"}}',
)
HANG_UP: Answer = (0, b"")


class Server(ThreadingHTTPServer):
    """An HTTP server that lets as many clients wait for their connection as a test may start."""

    request_queue_size = 128
    daemon_threads = True


class FakeTorchServe:
    """Inference and management on one port of loopback.

    Attributes:
        script: answers to give in turn; an empty script gives results.
        requests: (path, JSON) of each prediction, in order.
        traces: the traceparent header of each prediction, in order.
        headers: the headers of each prediction, by name in lower case, in order.
        management: answers of the management API by path.
        looks: number of requests to the management API.
        before_answer: called in the server's thread before each prediction's answer.
    """

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.traces: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.management: dict[str, Any] = {}
        self.workers(ready=8)
        self.before_answer: Callable[[], None] = lambda: None
        self.looks = 0
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/ping":
                    self.reply(200, b'{"status": "Healthy"}')
                elif self.path in fake.management:
                    fake.looks += 1
                    self.reply(200, json.dumps(fake.management[self.path]).encode())
                else:
                    self.reply(*NO_MODEL)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
                with fake.lock:
                    fake.requests.append((self.path, body))
                    fake.traces.append(self.headers.get("traceparent"))
                    fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                    answer = fake.script.pop(0) if fake.script else (200, fake.result(body))
                fake.before_answer()
                if answer is not HANG_UP:
                    self.reply(*answer)

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def workers(self, ready: int, waiting: int = 0) -> None:
        """Makes management's answer: one model with numbers of ready workers and of requests in its queue."""
        entry = {
            "modelName": "sam_tiny",
            "modelVersion": "1.0",
            "modelUrl": "sam_tiny.mar",
            "minWorkers": ready,
            "workers": [{"status": "READY"}] * ready,
            "jobQueueStatus": {"pendingRequests": waiting, "remainingCapacity": 100 - waiting},
        }
        self.management |= {
            "/models?limit=100": {"models": [{"modelName": "sam_tiny"}]},
            "/models/sam_tiny": [entry],
            "/models/sam_tiny/all": [entry],
        }

    def result(self, body: dict[str, Any]) -> bytes:
        image = base64.b64decode(body.get("image", ""), validate=True)
        options: dict[str, Any] = {name: body[name] for name in ("um_per_px", "scale_source") if name in body}
        options["mask_format"] = body.get("mask_format", "rle")
        if "prompts" not in body:
            return json.dumps(make_result(body["imageId"], **options)).encode()
        result = make_prompted_result(
            body["imageId"], answers=[answer_prompt(each) for each in body["prompts"]], **options
        )
        result["metadata"]["imageDigest"] = body.get("imageDigest") or hashlib.sha256(image).hexdigest()
        return json.dumps(result).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer_prompt(prompt: dict[str, Any]) -> list[NDArray[np.bool_]]:
    """Answers a prompt: with the disc at the first point or in the box, less all above and left of points of label 0.

    A larger mask comes second where `multimask` holds; without a disc there, no mask at all.
    """
    discs = disc_masks()
    points = [(int(x), int(y)) for x, y in prompt.get("points", ())]
    if prompt.get("box"):
        x0, y0, x1, y1 = map(int, prompt["box"])
        found = [each for each in discs if each[y0:y1, x0:x1].sum() == each.sum()]
    else:
        found = [each for each in discs if each[points[0][1], points[0][0]]]
    if not found:
        return []
    best = found[0].copy()
    for (x, y), label in zip(points, prompt.get("labels", [1] * len(points)), strict=True):
        if not label:
            best[: y + 1, : x + 1] = False
    answer = [best, np.logical_or.reduce(discs)] if prompt.get("multimask", len(points) == 1) else [best]
    return [each for each in answer if each.any()]
