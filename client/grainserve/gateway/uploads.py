"""One upload, in whichever of its three forms → image bytes and options."""

from __future__ import annotations

import base64
import binascii
import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from grainserve.contract import options_from_text, validate_options
from grainserve.errors import ImageRejected

MAX_SIDE = 1024
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
OPTIONS_BYTES = 64 * 1024
"""What a request may hold beside its image."""


@dataclass(frozen=True)
class Upload:
    """What was uploaded.

    Attributes:
        image: the bytes of an image file whose header was read.
        content_type: by that header.
        options: checked.
        key: the caller's idempotency key.
    """

    image: bytes
    content_type: str
    options: dict[str, Any]
    key: str | None


async def read(request: Request, max_bytes: int) -> Upload:
    """Reads an upload and checks it before anything is stored.

    Args:
        request: JSON (`{"image": base64, …options}`), a form (`image` and a field per option), or the image's own
            bytes with the options as query parameters.
        max_bytes: of the image.

    Raises:
        ImageRejected: 400, 413 or 415; the message says what to do.
        InvalidOption: an option is unknown or out of range.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        image, options = _from_json(await _body(request, max_bytes * 4 // 3 + OPTIONS_BYTES))
    elif kind == "multipart/form-data":
        image, options = await _from_form(request, max_bytes)
    else:
        image, options = await _body(request, max_bytes), options_from_text(request.query_params)
    if len(image) > max_bytes:
        raise _too_many(max_bytes)
    return Upload(image, check_header(image), options, request.headers.get("idempotency-key"))


def check_header(image: bytes) -> str:
    """Reads an image's header, and nothing behind it; returns its content type.

    Raises:
        ImageRejected: it is empty, no image, of a kind that is not read, or over MAX_SIDE.
    """
    if not image:
        raise ImageRejected(400, "empty_body", "the image has no bytes: send an image file")
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as picture:
            width, height = picture.size
            content_type = Image.MIME[str(picture.format)]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise ImageRejected(
            415, "not_an_image", f"the bytes do not begin like an image that is read: send {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise ImageRejected(413, "decompression_bomb", "the header claims far too many pixels") from None
    if max(width, height) > MAX_SIDE:
        raise ImageRejected(
            413,
            "image_too_large",
            f"the image is {width} × {height} px, the limit is {MAX_SIDE} px on the longer side: scale it down or cut "
            "it into tiles",
        )
    return content_type


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than its limit."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_many(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_many(limit)
    return bytes(body)


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageRejected(400, "invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        raise ImageRejected(400, "missing_image", 'the body has no image: send {"image": "<base64>", …options}')
    try:
        image = base64.b64decode(given.pop("image"), validate=True)
    except (binascii.Error, ValueError):
        raise ImageRejected(400, "invalid_base64", "image is not base64") from None
    return image, validate_options(given)


async def _from_form(request: Request, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    limited = _limited(request, max_bytes + OPTIONS_BYTES)
    async with limited.form(max_files=1, max_fields=32, max_part_size=OPTIONS_BYTES) as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise ImageRejected(400, "missing_image", "the form has no file named image")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return await file.read(), options_from_text(fields)


def _limited(request: Request, limit: int) -> Request:
    """The request, whose body ends with an error once it is over its limit, whoever reads it."""
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
