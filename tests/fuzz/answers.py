"""Answers in TorchServe's place: for any answer, a prediction ends in a result that can be stored or in an error."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from grainserve.errors import GrainserveError, TorchServeError
from grainserve.jobs.job import Failure
from grainserve.result import Result
from grainserve.torchserve.inference import TorchServe
from tests.fuzz import values
from tests.fuzz.mutators import mutate
from tests.unit.client.made import make_result

IMAGE_ID = "f" * 32
STATUSES = ("200",) * 28 + (
    "202",
    "301",
    "307",
    "400",
    "403",
    "404",
    "413",
    "422",
    "429",
    "500",
    "503",
    "507",
    "999",
    "x",
)
KINDS: tuple[object, ...] = (
    *("ServiceUnavailableException", "InternalServerException", "ModelNotFoundException", "ResourceNotFoundException"),
    *("BadRequestException", "", None, 7, []),
)
HEADERS = (
    *(b"Content-Type: application/json", b"Content-Type: text/html; charset=utf-16", b"Content-Encoding: gzip"),
    *(b"Transfer-Encoding: chunked", b"Content-Length: 7", b"Content-Length: -1", b"Content-Length: 9" * 2),
    *(b"Location: http://127.0.0.1:1/predictions", b"Location: file:///etc/passwd", b"Retry-After: never"),
    *(b"Set-Cookie: a=b", b"X: " + b"y" * 70_000, b"no colon", b"\xff: \0", b"Connection: keep-alive"),
)
ERROR_BYTES = 64 * 1024
"""Longest error, whatever the answer: errors go into the job's record and to terminals."""


class Server:
    """A server that answers every request with the same bytes.

    Attributes:
        answer: bytes of the answer.
        asked: number of requests.
    """

    def __init__(self) -> None:
        self.answer = b""
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            # One thread for each connection: a client that has read enough may neither read on nor hang up.
            threading.Thread(target=self._reply, args=(connection, self.answer), daemon=True).start()

    def _reply(self, connection: socket.socket, answer: bytes) -> None:
        with connection, suppress(OSError):
            self._read(connection)
            self.asked += 1
            connection.sendall(answer)

    @staticmethod
    def _read(connection: socket.socket) -> None:
        with connection.makefile("rb") as request:
            length = 0
            while (line := request.readline()).strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            request.read(length)


class Answer:
    """Target: an answer to a prediction, read as a dispatcher reads it, stored, and read again as a table."""

    share = 0.1
    memory_mib = 128

    def __init__(self, files: list[bytes]) -> None:
        self._files = files

    @cached_property
    def _server(self) -> Server:
        """The server of the process that runs cases; a process that only makes cases needs none."""
        return Server()

    def make(self, rng: Random) -> bytes:
        """Makes all bytes of an answer, from the status line on."""
        body = self._body(rng)
        if rng.random() < 0.1:
            body = mutate(body, self._files, rng)
        head = [b"HTTP/1.1 %s %s" % (rng.choice(STATUSES).encode(), rng.choice((b"OK", b"", b"\xff" * 9)))]
        if rng.random() < 0.9:
            head.append(b"Content-Length: %d" % len(body))
        head += [rng.choice(HEADERS) for _ in range(rng.choice((0,) * 9 + (1, 2, 120)))]
        answer = b"\r\n".join((*head, b"", body))
        if rng.random() < 0.05:
            answer = mutate(answer, self._files, rng)
        return answer

    def _body(self, rng: Random) -> bytes:
        given: Any
        match rng.randrange(8):
            case 0:
                given = {"error": {"code": _words(rng), "message": _words(rng)}}
            case 1:
                given = {"code": values.value(rng), "type": rng.choice(KINDS), "message": _words(rng)}
            case 2:
                given = values.value(rng)
            case 3:
                return b"<html><body>404</body></html>" * rng.choice((0, 1, 100_000))
            case _:
                image_id = rng.choice((IMAGE_ID,) * 4 + ("e" * 32,))
                scale, masks = rng.choice((None, 2.5)), rng.choice(("rle", "png", "polygon", "none"))
                given = make_result(image_id, um_per_px=scale, mask_format=masks)
                for _n in range(rng.choice((0, 1, 1, 2))):
                    _spoil(given, rng)
        try:
            written = json.dumps(given) if rng.random() < 0.8 else values.text(given, rng)
        except RecursionError:
            written = "[" * 100_000
        return written.encode(errors="surrogatepass")

    def run(self, case: bytes) -> str:
        self._server.answer, self._server.asked = case, 0
        torchserve = TorchServe(self._server.url, None)
        try:
            answer = torchserve.predict("sam_tiny", None, b"image", {}, IMAGE_ID)
        except TorchServeError as error:
            failure = Failure(error.code, str(error), getattr(error, "status", None))
            noted = json.dumps(failure.__dict__, allow_nan=False, ensure_ascii=False).encode()
            assert len(noted) <= ERROR_BYTES, f"an error of {len(noted)} bytes"
            return type(error).__name__
        finally:
            assert self._server.asked <= 1, "the request was sent again, or elsewhere"
        # Stored as by `JobStore.finish`. The stored result is read again in many ways, and none may fail.
        stored = json.dumps(answer, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        result = Result(json.loads(stored))
        assert result.image_id == IMAGE_ID
        with tempfile.TemporaryDirectory() as folder:
            result.export(Path(folder) / "grains.csv", csv_dialect="raw")
            table = pd.read_csv(Path(folder) / "grains.csv", keep_default_na=False)
        assert len(table) == len(result.grains)
        try:
            _ = result.has_masks and result.windows
        except GrainserveError as error:
            return f"read, {type(error).__name__}"
        return "read"


def _words(rng: Random) -> Any:
    return "x" * 2_000_000 if rng.random() < 0.05 else values.value(rng)


def _spoil(given: Any, rng: Random) -> None:
    """Changes one value, at any depth."""
    while True:
        places = list(given) if isinstance(given, dict) else list(range(len(given)))
        if not places:
            return
        place = rng.choice(places)
        if isinstance(given[place], dict | list) and rng.random() < 0.8:
            given = given[place]
            continue
        match rng.randrange(4):
            case 0:
                del given[place]
            case 1 if isinstance(given, dict):
                given[values.name(rng)] = values.value(rng)
            case _:
                given[place] = values.value(rng)
        return
