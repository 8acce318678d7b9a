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

from grainserve.admission import check_header, too_many_bytes
from grainserve.contract import options_from_text, validate_options
from grainserve.errors import ImageRejected, InvalidOption
from grainserve.gateway.service import Limits
from grainserve.reading.picture import READ

JSON = "application/json"
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
        image: bytes of the image file, or the URI of an object, which is not checked here.
        content_type: content type by the file's header; empty for an object.
        options: options of the request.
    """

    image: bytes | str
    content_type: str
    options: dict[str, Any]


async def read(request: Request, max_bytes: int, slowest: int = Limits.slowest) -> Upload:
    """Reads an upload and checks it, before anything is stored.

    Args:
        request: JSON (`{"image": base64, …options}`, or `{"uri": "gs://…", …options}` for an object of a bucket), a
            form (`image` and a field per option), or the image's bytes. Options may also be query parameters.
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
        if isinstance(image, bytes) and len(image) > max_bytes:
            raise too_many_bytes(max_bytes)
        options = _merged(_from_text(request.query_params.multi_items()), options)
        return Upload(image, check_header(image) if isinstance(image, bytes) else "", options)

    # 32 MB of JSON take a few hundred ms to parse. In the event loop they would hold up every other request.
    return await run_in_threadpool(checked)


def content_type(beginning: bytes) -> str:
    """Returns the content type of an image file by its first bytes; other files get a type that no browser displays."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    found = (f"image/{kind.lower()}" for magic, kind in READ.items() if beginning.startswith(magic))
    return next(found, "application/octet-stream")


async def _body(request: Request, limit: int) -> bytes:
    """Reads the body, no further than the limit."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_many_bytes(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_many_bytes(limit)
    return bytes(body)


def _from_json(body: bytes) -> tuple[bytes | str, dict[str, Any]]:
    if sum(map(body.count, (b",", b"[", b"{"))) > JSON_PARTS:
        raise ImageRejected(400, "invalid_json", "the body has too many values: send an image and its options")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageRejected(400, "invalid_json", f"the body is not JSON: {error}") from None
    if isinstance(given, dict) and "uri" in given and "image" not in given:
        uri = given.pop("uri")
        return uri if isinstance(uri, str) else "", validate_options(given)
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        wanted = '{"image": "<base64>", …options}, or {"uri": "gs://…", …options}'
        raise ImageRejected(400, "missing_image", f"the body has no image: send {wanted}")
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
            raise too_many_bytes(limit)
        return message

    return Request(request.scope, receive)
