"""Reads uploads: raw bytes, a form or JSON → image bytes and options."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from grainserve.contract import options_from_text, validate_options
from grainserve.errors import ImageRejected, InvalidOption
from grainserve.gateway.service import Limits
from grainserve.images import MAX_SIDE
from grainserve.reading.picture import READ, read_header
from grainserve.reading.refusal import Refused

JSON = "application/json"
STATUS = {"decompression_bomb": 413} | dict.fromkeys(
    ("not_an_image", "unsupported_format", "multiple_pages", "truncated_image"), 415
)
"""HTTP status of a refused image, by the code of the refusal. The handler answers with the same statuses."""
OPTIONS_BYTES = 64 * 1024
"""Bytes that a request may hold beside its image."""
JSON_PARTS = 1000
"""Values that the JSON of an upload may hold. They are counted by commas and brackets, which base64 does not have.
Without this limit, ten million empty lists would fit into the bytes of an image and take 800 MB of memory."""
READ_SECONDS = 60.0
"""Seconds for a whole body to arrive, because a body that drips in holds a place."""
STALL_SECONDS = 10.0
"""Seconds that a body may stand still. Below the slowest speed, it uses them up; above, it wins them back."""
LARGEST_MIB = 120
"""Most memory that an upload takes, MiB: the largest image as JSON, while it is parsed."""


@dataclass(frozen=True)
class Upload:
    """A checked upload.

    Attributes:
        image: bytes of the image file.
        content_type: content type by the file's header.
        options: options of the request.
    """

    image: bytes
    content_type: str
    options: dict[str, Any]


async def read(request: Request, max_bytes: int, slowest: int = Limits.slowest) -> Upload:
    """Reads an upload and checks it, before anything is stored.

    Args:
        request: JSON (`{"image": base64, …options}`), a form (`image` and a field per option), or the image's bytes.
            Options may also be query parameters.
        max_bytes: size of the largest image, bytes.
        slowest: lowest speed, bytes/s.

    Raises:
        ImageRejected: 400, 408, 413 or 415; the message says what to do.
        InvalidOption: an option is unknown, out of range or given twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    fields: list[tuple[str, str]] = []
    try:
        async with asyncio.timeout(min(READ_SECONDS, STALL_SECONDS)) as patience:
            request = _timed(request, patience, slowest)
            if kind == "multipart/form-data":
                body, fields = await _form(request, max_bytes)
            else:
                body = await _body(request, max_bytes * 4 // 3 + OPTIONS_BYTES if kind == JSON else max_bytes)
    except TimeoutError:
        raise ImageRejected(
            408,
            "too_slow",
            f"the request came with less than {slowest / 1024:g} KiB/s, or not within {READ_SECONDS:g} s: send a "
            "smaller file",
        ) from None

    def checked() -> Upload:
        image, options = _from_json(body) if kind == JSON else (body, _from_text(fields))
        if len(image) > max_bytes:
            raise _too_many(max_bytes)
        options = _merged(_from_text(request.query_params.multi_items()), options)
        return Upload(image, check_header(image), options)

    # 32 MB of JSON take a few hundred ms to parse. In the event loop they would hold up every other request.
    return await run_in_threadpool(checked)


def check_header(image: bytes) -> str:
    """Reads an image's header, not its pixels; returns its content type.

    Args:
        image: bytes of the image file.

    Raises:
        ImageRejected: the file is empty, no image, of a format or pixel type that is not read, of several pages, or
            larger than MAX_SIDE.
    """
    if not image:
        raise ImageRejected(400, "empty_body", "the image has no bytes: send an image file")
    try:
        header = read_header(image)
    except Refused as refused:
        raise ImageRejected(STATUS[refused.code], refused.code, str(refused)) from None
    width, height = header.width, header.height
    if max(width, height) > MAX_SIDE:
        raise ImageRejected(
            413,
            "image_too_large",
            f"the image is {width} × {height} px, the limit is {MAX_SIDE} px on the longer side: scale it down, or "
            "measure it with `grainserve analyze`, which cuts it into tiles",
        )
    return header.content_type


def content_type(beginning: bytes) -> str:
    """Returns the content type of an image file by its first bytes; other files get a type that no browser displays."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    found = (f"image/{kind.lower()}" for magic, kind in READ.items() if beginning.startswith(magic))
    return next(found, "application/octet-stream")


async def _body(request: Request, limit: int) -> bytes:
    """Reads the body, no further than the limit."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_many(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_many(limit)
    return bytes(body)


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    if sum(map(body.count, (b",", b"[", b"{"))) > JSON_PARTS:
        raise ImageRejected(400, "invalid_json", "the body has too many values: send an image and its options")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageRejected(400, "invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        raise ImageRejected(400, "missing_image", 'the body has no image: send {"image": "<base64>", …options}')
    return _from_base64(given.pop("image")), validate_options(given)


def _from_base64(text: str) -> bytes:
    """Decodes base64, on one line or wrapped, or in a data: URI."""
    try:
        letters = text.encode("ascii").translate(None, b" \t\r\n")
        if letters[:5].lower() == b"data:":
            head, _, letters = letters.partition(b",")
            if not head.lower().endswith(b";base64"):
                raise ValueError("a data: URI that is not base64")
        return base64.b64decode(letters, validate=True)
    except ValueError as error:  # binascii.Error, or letters that are not ASCII
        raise ImageRejected(
            400,
            "invalid_base64",
            f"image is not base64 ({error}): send the standard alphabet, wrapped or in a data: URI",
        ) from None


async def _form(request: Request, max_bytes: int) -> tuple[bytes, list[tuple[str, str]]]:
    """Reads a form; returns its image and its other fields."""
    limited = _limited(request, max_bytes + OPTIONS_BYTES)
    try:
        async with limited.form(max_files=1, max_fields=32, max_part_size=OPTIONS_BYTES) as form:
            file = form.get("image")
            if not isinstance(file, UploadFile):
                raise ImageRejected(400, "missing_image", "the form has no file named image")
            return await file.read(), [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    except UnicodeError:  # some charsets that a form may name raise more than a bad letter's UnicodeDecodeError
        raise ImageRejected(400, "invalid_form", "the form is not in the charset that it names: send UTF-8") from None


def _from_text(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Reads options from a form's fields or a query; refuses an option that is given twice."""
    given = dict(fields)
    if len(given) < len(fields):
        raise InvalidOption("an option is given twice: give each one once")
    return options_from_text(given)


def _merged(query: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if both := query.keys() & body.keys():
        raise InvalidOption(f"{', '.join(sorted(both))}: in the query and in the body; give each option once")
    return query | body


def _timed(request: Request, patience: asyncio.Timeout, slowest: int) -> Request:
    """Wraps the request so that every byte that arrives extends the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + READ_SECONDS

    async def receive() -> Message:
        message = await request.receive()
        won = (patience.when() or 0.0) + len(message.get("body", b"")) / slowest
        patience.reschedule(min(won, loop.time() + STALL_SECONDS, end))
        return message

    return Request(request.scope, receive)


def _limited(request: Request, limit: int) -> Request:
    """Wraps the request so that reading its body fails once it is over the limit."""
    so_far = 0

    async def receive() -> Message:
        nonlocal so_far
        message = await request.receive()
        so_far += len(message.get("body", b""))
        if so_far > limit:
            raise _too_many(limit)
        return message

    return Request(request.scope, receive)


def _too_many(limit: int) -> ImageRejected:
    return ImageRejected(413, "too_many_bytes", f"the request is over its limit of {limit} bytes: send a smaller file")
