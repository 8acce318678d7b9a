"""An inference server that answers like TorchServe, but sleeps instead of segmenting.

    python -m tests.faults.stub --port 9000 --seconds 0.05 --workers 2 --queue 4

The end of the image's bytes decides: `poison` kills the worker, `large` is refused, anything else is measured. Requests
beyond the places of workers and queue are refused as TorchServe does. PUT a number (JSON) to get that many wrong
results next: of another image, malformed, with half a character in them, or a redirect to `--elsewhere`. GET /wrong
tells how many are still to come.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.unit.client.made import make_result

POISON, LARGE = b"poison", b"large"
BUSY = {"code": 503, "type": "ServiceUnavailableException", "message": "Model has no worker to serve request."}
DIED = {"code": 500, "type": "InternalServerException", "message": "Worker died."}
MEASURED = make_result(masks=[])
NO_IMAGE = {"error": {"code": "not_an_image", "message": "a page is no image"}}
MALFORMED = {"metadata": None, "segmentedObjects": "moved"}
REFUSED = {"error": {"code": "image_too_large", "message": "the image is 4000 px wide, the limit is 1024"}}


class Stub:
    """The stub's workers, and the number of requests that it holds."""

    def __init__(self, seconds: float, workers: int, queue: int) -> None:
        self.seconds, self.workers, self.queue = seconds, workers, queue
        self.wrong = 0
        self.lock = threading.Lock()
        self.held = 0
        self.last = "0" * 32
        self.free = threading.Semaphore(workers)

    def predict(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Returns status and answer of one request."""
        with self.lock:
            if self.held >= self.workers + self.queue:
                return 503, BUSY
            self.held += 1
        try:
            with self.free:
                time.sleep(self.seconds)
        finally:
            with self.lock:
                self.held -= 1
        image = base64.b64decode(body["image"])
        if image.endswith(POISON):
            return 500, DIED
        if image.endswith(LARGE):
            return 413, REFUSED
        if image.startswith(b"<"):
            return 400, NO_IMAGE
        return self._measured(body["imageId"])

    def _measured(self, image_id: str) -> tuple[int, dict[str, Any]]:
        right = {**MEASURED["metadata"], "imageId": image_id}
        with self.lock:
            other, self.last = self.last, image_id
            wrong, self.wrong = self.wrong > 0, max(0, self.wrong - 1)
        if not wrong:
            return 200, {**MEASURED, "metadata": right}
        return random.choice(
            [
                (200, {**MEASURED, "metadata": {**right, "imageId": other}}),
                (200, MALFORMED),
                (200, {**MEASURED, "metadata": {**right, "model": "sam\ud83d"}}),
                (307, {}),
            ]
        )

    def manage(self, path: str) -> Any:
        """Returns management's answer."""
        if path == "/wrong":
            return self.wrong
        if path.startswith("/models?"):
            return {"models": [{"modelName": "sam_tiny"}]}
        waiting = max(0, self.held - self.workers)
        workers = [{"status": "READY"}] * self.workers
        status = {"pendingRequests": waiting, "remainingCapacity": self.queue - waiting}
        named = {"modelName": "sam_tiny", "modelVersion": "1.0", "modelUrl": "sam_tiny.mar", "minWorkers": len(workers)}
        return [{**named, "workers": workers, "jobQueueStatus": status}]


def main() -> None:
    """Serves until the process is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queue", type=int, default=4)
    parser.add_argument("--elsewhere", default="http://127.0.0.1:9/", help="where redirects lead (default %(default)s)")
    arguments = parser.parse_args()
    stub = Stub(arguments.seconds, arguments.workers, arguments.queue)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._reply(200, {"status": "Healthy"} if self.path == "/ping" else stub.manage(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(*stub.predict(body))

        def do_PUT(self) -> None:
            with stub.lock:
                stub.wrong = int(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(200, {})

        def _reply(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", arguments.elsewhere)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    Server(("127.0.0.1", arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
