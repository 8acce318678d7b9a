"""The targets: each makes a random case, and runs it to the name of its outcome.

Every exception of a run is a fault. Declared refusals are caught here and reported by their code.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Protocol

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.types import Message

from grain_handler.errors import RequestError
from grain_handler.prompt import Prompt
from grain_handler.wire.frame import Frame
from grain_handler.wire.mask_token import LONGEST, write_token
from grain_handler.wire.prompts import Subject, read_prompts, write_mask_token
from grain_handler.wire.request import Request, parse
from grainserve.admission import MAX_MIB, check_header
from grainserve.errors import ImageRejected, InvalidImageId, InvalidOption
from grainserve.gateway import bodies, segment_requests, uploads
from grainserve.gateway.app import _answer_error
from grainserve.gateway.keys import MIB
from grainserve.gateway.segment_answers import check
from grainserve.gateway.service import Limits
from tests.fuzz import values
from tests.fuzz.answers import Answer
from tests.fuzz.files import make_files
from tests.fuzz.mutators import mutate, swell

LARGE = 0.002
"""Share of the largest inputs, each of which takes a hundred times as long as another."""
LARGE_MIB = 256
"""Limit for large inputs: an upload of 24 MiB as JSON takes 160 MiB (input, body, text, base64 and image)."""
MEMORY_MIB = 128
"""Limit for the other inputs; the largest image takes 60 MiB."""
SECONDS = 30.0
"""Time limit of one input on a busy machine; then its process ends with a traceback."""
DEFAULTS = {"pred_iou_thresh": 0.5}
MAX_BYTES = MAX_MIB * MIB
"""The gateway's limit of an upload."""
ANSWER_BYTES = 64 * 1024
"""Longest refusal, however large the request: TorchServe ends a worker whose answer is over its limit."""


class Target(Protocol):
    """One entry into the code."""

    share: float
    """Share of all inputs."""

    memory_mib: int
    """Memory that a process may hold during an input, above what it held before its first, MiB."""

    def make(self, rng: Random) -> Any:
        """Makes a case, which depends only on the random source."""

    def run(self, case: Any) -> str:
        """Gives a case to the code under test; returns its outcome."""


@dataclass
class Row:
    """A request row as TorchServe gives it to the handler: raw bytes, JSON or a form.

    Args:
        files: image files to start from.
        share: share of all inputs.
        body: makes the row.
        memory_mib: memory that may be held, MiB.
    """

    files: list[bytes]
    share: float
    body: Callable[[Random, list[bytes]], dict[str, Any]]
    memory_mib: int = MEMORY_MIB

    def make(self, rng: Random) -> tuple[dict[str, Any], dict[str, str]]:
        kind = rng.choice(("application/json", "APPLICATION/JSON; x", "text/plain", "\xff"))
        headers = {"Content-Type": kind if rng.random() < 0.1 else ""}
        if rng.random() < 0.01:
            headers["explain"] = rng.choice(("True", "x"))
        return self.body(rng, self.files), headers

    def run(self, case: tuple[dict[str, Any], dict[str, str]]) -> str:
        parsed = parse(*case, "request-id", DEFAULTS)
        if isinstance(parsed, RequestError):
            assert 400 <= parsed.status < 500
            _assert_answer({"code": parsed.code, "message": parsed.message})
            return parsed.code
        assert isinstance(parsed, Request)
        pixels = parsed.image.pixels
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert 1 <= max(pixels.shape[:2]) <= 1024
        assert len(parsed.image_id) <= 128
        # As written by answer.render.
        json.dumps(parsed.options.model_dump(), allow_nan=False, ensure_ascii=False).encode()
        json.dumps(parsed.image.warnings, ensure_ascii=False).encode()
        return "read"


@dataclass
class Prompts:
    """The prompts of a request, as JSON or as a form's text."""

    share: float = 0.05
    memory_mib: int = MEMORY_MIB

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        asked: list[Any] = [[1, {"points": [[3, 4]]}]]
        chains: list[Any] = [asked, asked * 3, asked * 17, [[9, {}]], "x", " " * 400_000, None]
        return tuple(write_token(chain, self.subject.digest, self.subject.checkpoint, time.time()) for chain in chains)

    @cached_property
    def subject(self) -> Subject:
        return Subject(Frame(5, 5, 50, 30), 60, 40, bytes(32), "AAAAAA==")

    def make(self, rng: Random) -> Any:
        given = values.prompts(rng, self.tokens)
        return values.text(given, rng) if rng.random() < 0.3 else given

    def run(self, case: Any) -> str:
        try:
            read = read_prompts(case, self.subject)
        except RequestError as error:
            refused = error
        else:
            return self._read(read)
        assert 400 <= refused.status < 500
        _assert_answer({"code": refused.code, "message": refused.message})
        return refused.code

    def _read(self, prompts: tuple[Prompt, ...]) -> str:
        for prompt in prompts:
            assert len(prompt.labels) == len(prompt.points)
            assert ((prompt.points >= 0) & (prompt.points < (50, 30))).all()
            assert len(write_mask_token(prompt, 0, self.subject.digest, self.subject.checkpoint)) <= LONGEST
        return "read"


def raw_row(rng: Random, files: list[bytes]) -> dict[str, Any]:
    return {rng.choice(("body", "data")): bytearray(mutate(rng.choice(files), files, rng))}


def json_row(rng: Random, files: list[bytes]) -> dict[str, Any]:
    if rng.random() < 0.1:
        return {"body": values.value(rng)}
    body = values.options(rng)
    if rng.random() < 0.9:
        body.setdefault("image", _base64(rng, files))
    return {"body": body}


def form_row(rng: Random, files: list[bytes]) -> dict[str, Any]:
    """Makes a form; TorchServe gives the value of a part that says it is JSON or text."""
    row: dict[str, Any] = {
        key: rng.choice((str(given).encode(errors="replace"), given, str(given), rng.randbytes(9)))
        for key, given in _shallow(values.options(rng)).items()
    }
    if rng.random() < 0.9:
        row.setdefault("image", mutate(rng.choice(files), files, rng) if rng.random() < 0.5 else rng.choice(files))
    return row


def _shallow(options: dict[str, Any]) -> dict[str, Any]:
    """Removes values that `str` cannot write."""
    return {key: value if not isinstance(value, list | dict) else values.TEXTS[5] for key, value in options.items()}


def _base64(rng: Random, files: list[bytes]) -> str:
    text = base64.b64encode(rng.choice(files[:5])).decode()
    roll = rng.random()
    if roll < 0.5:
        return text
    return text[: rng.randrange(len(text))] + rng.choice(("", "=", "\n", "é", "\ud800", "-_", " ", "\0"))


class Header:
    """An image's header as the gateway reads it."""

    share = 0.15
    memory_mib = MEMORY_MIB

    def __init__(self, files: list[bytes]) -> None:
        self._files = files

    def make(self, rng: Random) -> bytes:
        return mutate(rng.choice(self._files), self._files, rng)

    def run(self, case: bytes) -> str:
        try:
            return check_header(case)
        except ImageRejected as error:
            _assert_answer({"code": error.code, "message": str(error)})
            return error.code


Body = Callable[[Random, list[bytes]], tuple[str, bytes]]
"""Makes a content type and a body."""


@dataclass
class Upload:
    """A whole upload to the gateway: JSON, a form, or bytes, which arrive in pieces.

    Args:
        files: image files to start from.
        share: share of all inputs.
        bodies: makers of bodies, of which one is drawn.
        pieces: sizes of the pieces.
        memory_mib: memory that may be held, MiB.
    """

    files: list[bytes]
    share: float
    bodies: tuple[Body, ...]
    pieces: tuple[int, ...]
    memory_mib: int = MEMORY_MIB

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the process that runs cases; a process that only makes cases needs none."""
        return asyncio.new_event_loop()

    def make(self, rng: Random) -> tuple[str, bytes, bytes, int]:
        """Makes content type, query, body and the size of its pieces."""
        query = rng.choice((b"", b"", b"um_per_px=2.5", b"label=%ff%00", b"min_area=7&min_area=8", rng.randbytes(12)))
        kind, body = rng.choice(self.bodies)(rng, self.files)
        return kind, query, body, rng.choice(self.pieces)

    def run(self, case: tuple[str, bytes, bytes, int]) -> str:
        return self._loop.run_until_complete(self.arrive(*case))

    async def arrive(self, kind: str, query: bytes, body: bytes, piece: int) -> str:
        """Sends the body piece by piece."""
        starts = iter(range(0, len(body) or 1, piece))

        async def receive() -> Message:
            start = next(starts)
            more = start + piece < len(body)
            return {"type": "http.request", "body": body[start : start + piece], "more_body": more}

        headers = [(b"content-type", kind.encode("latin-1")), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": "POST", "path": "/upload", "query_string": query, "headers": headers}
        request = HttpRequest(scope | {"app": None}, receive)
        try:
            await self.read(request)
        except (ImageRejected, InvalidOption, InvalidImageId) as error:
            answer = await _answer_error(request, error)
            assert 400 <= answer.status_code < 500
            assert len(answer.body) <= ANSWER_BYTES
            return error.code
        except HTTPException as error:  # Starlette's answer to a form that cannot be parsed
            if error.status_code >= 500:
                raise
            return f"http_{error.status_code}"
        finally:
            await request.close()
        return "read"

    async def read(self, request: HttpRequest) -> None:
        """Reads the upload, up to what is stored."""
        upload = await uploads.read(request, uploads.Size.of(request, MAX_BYTES, 1))
        json.dumps(upload.options, allow_nan=False, ensure_ascii=False).encode()


@dataclass
class Segment(Upload):
    """A whole request with prompts to the gateway: JSON or a form, for one image or for a batch."""

    def make(self, rng: Random) -> tuple[str, bytes, bytes, int]:
        kind, _, body, piece = super().make(rng)
        return kind, rng.choice((b"", b"batch")), body, piece

    async def read(self, request: HttpRequest) -> None:
        """Reads the request as the routes do, up to what goes to TorchServe."""
        bounds = bodies.Bounds(MAX_BYTES, segment_requests.PROMPT_BYTES, segment_requests.MOST_ITEMS, Limits.slowest)
        body = await bodies.read(request, bounds)
        asked = segment_requests.several(body) if request.scope["query_string"] else segment_requests.one(body)
        for item in asked.items:
            question = check(segment_requests.question(item, MAX_BYTES), asked.form or asked.usual)
            said = {**question.options, "prompts": question.prompts, "imageDigest": question.digest}
            json.dumps(said, allow_nan=False).encode()  # as TorchServe is sent it


def _json_segment(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    given = _segment(rng, files)
    if rng.random() < 0.3:
        items = [_segment(rng, files)] * rng.choice((0, 1, 2, 65))  # many different ones take seconds to make
        given = {"items": items} | _shallow(values.options(rng) if rng.random() < 0.2 else {})
    if rng.random() < 0.05:
        given = values.value(rng)
    return rng.choice(("application/json",) * 9 + ("text/plain",)), values.text(given, rng).encode(
        errors="surrogatepass"
    )


def _segment(rng: Random, files: list[bytes]) -> Any:
    """One item: an image in one way or another, prompts, and options."""
    sources = {"image": _base64(rng, files), "imageId": "f" * 32, "imageDigest": "ab" * 32}
    given: dict[str, Any] = values.options(rng) if rng.random() < 0.3 else {}
    for name in rng.sample(sorted(sources), rng.choice((0, 1, 1, 1, 1, 2))):
        given[name] = sources[name] if rng.random() < 0.9 else values.value(rng)
    if rng.random() < 0.9:
        given["prompts"] = values.prompts(rng, ("token",))
    for name in ("model_type", "format", *segment_requests.POINTED):
        if rng.random() < 0.1:
            given[name] = values.value(rng)
    return given


def _form_segment(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    fields = {name: values.text(values.value(rng), rng) for name in segment_requests.POINTED if rng.random() < 0.4}
    if rng.random() < 0.3:
        fields["prompts"] = values.text(values.prompts(rng, ("token",)), rng)
    if rng.random() < 0.3:
        fields[rng.choice(("model_type", "format", "imageId", "imageDigest", "file"))] = rng.choice(values.TEXTS)
    parts = [(DISPOSITIONS[1].format("file"), rng.choice(files[:5])) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    parts += [(DISPOSITIONS[0].format(name), text.encode(errors="surrogatepass")) for name, text in fields.items()]
    body = b"".join(
        b"--edge\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (disposition.encode(), data) for disposition, data in parts
    )
    return "multipart/form-data; boundary=edge", body + b"--edge--\r\n"


def _json_body(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    given: Any = values.options(rng)
    if rng.random() < 0.9:
        given.setdefault("image", _base64(rng, files))
    if rng.random() < 0.1:
        given = values.value(rng)
    body = values.text(given, rng).encode(errors="surrogatepass")
    return rng.choice(("application/json", "application/json; charset=utf-16", "APPLICATION/JSON")), body


CHARSETS = (
    "",
    "utf-8",
    "utf-16",
    "idna",
    "punycode",
    "undefined",
    "hex",
    "rot13",
    "unicode_escape",
    "utf-7",
    "nothing",
)
DISPOSITIONS = (
    'form-data; name="{}"',
    'form-data; name="{}"; filename="a.png"',
    "form-data; name={}; filename*=utf-8''%ff",
    "form-data; NAME={}",
    "form-data",
    "attachment",
    'form-data; name="{}',
    'form-data; name="\\"{}"; filename="' + "a" * 5000 + '"',
)


def _form_body(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    """Makes parts that are mostly right; then perhaps damages the form anywhere."""
    parts = [(DISPOSITIONS[1].format("image"), rng.choice(files[:5]))] if rng.random() < 0.9 else []
    for key, given in _shallow(values.options(rng)).items():
        parts.append((rng.choice(DISPOSITIONS).format(key), str(given).encode(errors="surrogatepass")))
    body = b"".join(
        b"--edge\r\nContent-Disposition: %s\r\n%s\r\n%s\r\n"
        % (
            disposition.encode(errors="surrogatepass"),
            rng.choice((b"", b"", b"Content-Type: image/png\r\n", b"X: " + b"y" * 100_000 + b"\r\n", b"\0: \r\n")),
            data,
        )
        for disposition, data in parts
    )
    body += rng.choice((b"--edge--\r\n", b"--edge--\r\n", b"--edge--\r\n", b"", b"--edge\r\n" * 100))
    if rng.random() < 0.3:
        body = mutate(body, files, rng)
    kind = rng.choice(
        ("multipart/form-data; boundary=edge",) * 4 + ("multipart/form-data", 'multipart/form-data; boundary="')
    )
    charset = rng.choice(CHARSETS) if rng.random() < 0.3 else ""
    return f"{kind}; charset={charset}" if charset else kind, body


def _raw_body(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    return rng.choice(("", "image/png", "text/plain")), mutate(rng.choice(files), files, rng)


# As large as production takes them, and a little over ----------------------------------------------------------------


def large_row(rng: Random, files: list[bytes]) -> dict[str, Any]:
    match rng.randrange(3):
        case 0:
            return {"body": bytearray(_large_file(rng, files))}
        case 1:
            given: dict[str, Any] = json.loads(_large_json(rng, files)[1])
            return {"body": given}
        case _:
            return form_row(rng, files) | {"image": _large_file(rng, files)}


def _large_file(rng: Random, files: list[bytes]) -> bytes:
    file = rng.choice(files) if rng.random() < 0.5 else mutate(rng.choice(files), files, rng)
    return swell(file, MAX_BYTES + rng.choice((-100_000, -1, 0, 1)), rng)


def _large_json(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    """Makes an image in base64, complete or with one bad character, or other text of this length."""
    size = MAX_BYTES * 4 // 3
    match rng.randrange(7):
        case 0:
            body = b'{"image": "", "label": "%s"}' % (b"x" * size)
        case 1:
            body = b'{"image": "", "%s": 1}' % (b"x" * size)
        case 2:
            body = b'{"image": "%s"}' % (b"\\u00e9" * (size // 6))
        case 3:
            body = b'{"image": "%s"}' % ("é".encode() * (size // 2))
        case _:
            text = bytearray(base64.b64encode(_large_file(rng, files)))
            if rng.random() < 0.3:
                text[rng.randrange(len(text))] = ord(rng.choice("=-_ "))
            body = b'{"image": "%s", "um_per_px": 2.5}' % text
    return "application/json", body


def _large_form(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    name, kind = rng.choice(("image", "image", "label", "x")), rng.choice((b"image/png", b"text/plain"))
    head = b"--edge\r\nContent-Disposition: %s\r\nContent-Type: %s\r\n\r\n"
    disposition = rng.choice(DISPOSITIONS[:2]).format(name).encode()
    body = head % (disposition, kind) + _large_file(rng, files) + b"\r\n--edge--\r\n"
    return "multipart/form-data; boundary=edge", body


def _large_raw(rng: Random, files: list[bytes]) -> tuple[str, bytes]:
    return "image/png", _large_file(rng, files)


def _assert_answer(error: dict[str, str]) -> None:
    assert error["message"]
    answer = json.dumps({"error": error}, allow_nan=False, ensure_ascii=False).encode()
    assert len(answer) <= ANSWER_BYTES, f"an answer of {len(answer)} bytes"


def targets() -> dict[str, Target]:
    """Returns all targets by name."""
    files = make_files()
    return {
        "handler_raw": Row(files, 0.25 - 2 * LARGE, raw_row),
        "handler_json": Row(files, 0.15, json_row),
        "handler_form": Row(files, 0.1, form_row),
        "prompts": Prompts(),
        "client_answer": Answer(files),
        "gateway_header": Header(files),
        "gateway_upload": Upload(files, 0.2, (_json_body, _form_body, _raw_body), (1 << 16, 1 << 16, 100)),
        "gateway_segment": Segment(files, 0.05, (_json_segment, _form_segment), (1 << 16, 1 << 16, 100)),
        "handler_large": Row(files, LARGE, large_row, LARGE_MIB),
        "gateway_large": Upload(files, LARGE, (_large_json, _large_form, _large_raw), (1 << 16,), LARGE_MIB),
    }
