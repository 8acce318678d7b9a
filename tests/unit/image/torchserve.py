"""A management API like TorchServe 0.12's, with workers and a queue that a test controls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlparse

from image.management import Management


@dataclass
class Model:
    """One version: its queue, and until when each worker (by process id) is busy."""

    pids: list[int] = field(default_factory=lambda: [11])
    queued: int = 0
    busy_until: dict[int, float] = field(default_factory=dict)
    status: str = "READY"
    tells_pid: bool = True

    def free(self) -> list[int]:
        return [pid for pid in self.pids if self.busy_until.get(pid, 0) <= time.monotonic()]


@dataclass
class Fake:
    """The whole of one fake TorchServe.

    Attributes:
        just_deleted: models that appear in one more list, but are gone when asked for.
        delays: seconds that the next answers, except barriers, take.
    """

    models: dict[str, Model] = field(default_factory=dict)
    just_deleted: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    taken: int = 0
    barriers: int = 0
    turn: Iterator[int] = field(default_factory=count)

    def describe(self, name: str) -> dict[str, Any]:
        model = self.models[name]
        return {
            "modelName": name,
            "modelVersion": "1.0",
            "workers": [{"pid": pid, "status": model.status} for pid in model.pids],
            "jobQueueStatus": {"pendingRequests": model.queued},
        }

    def answer_barrier(self, name: str) -> dict[str, Any]:
        """Waits for the first free worker."""
        model = self.models[name]
        self.barriers += 1
        while not (free := model.free()):
            time.sleep(0.01)
        pid = free[next(self.turn) % len(free)]
        return {**self.describe(name), "customizedMetadata": {"pid": pid} if model.tells_pid else {"mark": "x"}}


class _Handler(BaseHTTPRequestHandler):
    fake: Fake

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        if "customized" not in query and self.fake.delays:
            time.sleep(self.fake.delays.pop(0))
        if parts == ["metrics"]:
            self._send(
                200, f'# HELP x\nts_inference_requests_total{{model_name="a"}} {float(self.fake.taken)}\n'.encode()
            )
        elif parts == ["models"]:
            names, begin = sorted([*self.fake.models, *self.fake.just_deleted]), int(query["next_page_token"])
            page: dict[str, Any] = {"models": [{"modelName": name} for name in names[begin : begin + 2]]}
            if begin + 2 < len(names):
                page["nextPageToken"] = str(begin + 2)
            self._json(200, page)
        elif parts[1] not in self.fake.models:
            self.fake.just_deleted = [name for name in self.fake.just_deleted if name != parts[1]]
            self._json(404, {"code": 404, "type": "ModelNotFoundException", "message": "not found"})
        elif query.get("customized") == "true":
            self._json(200, [self.fake.answer_barrier(parts[1])])
        else:
            self._json(200, [self.fake.describe(parts[1])])

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        with suppress(BrokenPipeError, ConnectionResetError):  # the client waits no longer
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(fake: Fake, patience: float = 5) -> Iterator[Management]:
    """Serves the fake on a free port of loopback; clients wait that many seconds for an answer."""
    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield Management(url, f"{url}/metrics", patience)
        finally:
            server.shutdown()
            thread.join()
