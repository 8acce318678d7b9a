"""Reads bodies of requests within limits of size, time and speed; decodes what JSON and forms hold."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from grainserve.admission import too_many_bytes
from grainserve.bounded_json import loads
from grainserve.errors import ImageRejected

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"
FORM = "multipart/form-data"
FIELD_BYTES = 64 * 1024
"""Bytes that a request may hold beside its image where nothing else is said."""
READ_SECONDS = 60.0
"""Seconds for a whole body to arrive, because a body that drips in holds a place."""
STALL_SECONDS = 10.0
"""Seconds that a body may stand still. Below the slowest speed, it uses them up; above, it wins them back."""
MODEL_BYTES, MODEL_PARTS = 512 * 1024, 2100
"""Largest JSON body without an image: twice 1000 ids, each of 131 bytes at most."""


@dataclass(frozen=True)
class Bounds:
    """Limits on one body.

    Attributes:
        file_bytes: most bytes of all files together.
        field_bytes: most bytes beside the files.
        files: most files of a form.
        slowest: lowest speed, bytes/s.
        json_bytes: most bytes of a file in JSON; None: as many as of any.
        times: how many times READ_SECONDS the whole body may take to arrive.
    """

    file_bytes: int
    field_bytes: int
    files: int
    slowest: int
    json_bytes: int | None = None
    times: int = 1

    @property
    def seconds(self) -> float:
        """Time for the whole body to arrive, s."""
        return self.times * READ_SECONDS


@dataclass(frozen=True)
class Body:
    """A body that has arrived.

    Attributes:
        kind: content type, in lower case; empty where the request names none.
        content: bytes of the body; empty for a form.
        files: name and bytes of each file of a form.
        fields: name and text of each other field of a form.
    """

    kind: str
    content: bytes
    files: tuple[tuple[str, bytes], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()


def kind_of(request: Request) -> str:
    """Returns a request's content type, in lower case; empty where it names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(request: Request, bounds: Bounds) -> Body:
    """Reads a body: a form, JSON, or bytes of any other kind. JSON may have a third more bytes, for base64.

    Args:
        request: request whose body has not been read.
        bounds: limits on the body.

    Raises:
        ImageRejected: 400, 408 or 413: the form is in a charset that it does not name, or the body is too slow or too
            large.
        HTTPException: 400: the form cannot be parsed.
    """
    kind = kind_of(request)
    try:
        async with asyncio.timeout(min(bounds.seconds, STALL_SECONDS)) as patience:
            request = _timed(request, patience, bounds)
            if kind == FORM:
                return await _form(request, bounds)
            limit = bounds.file_bytes
            if kind == JSON:
                limit = (bounds.json_bytes or limit) * 4 // 3 + bounds.field_bytes
            return Body(kind, await _content(request, limit))
    except TimeoutError:
        raise ImageRejected(
            408,
            "too_slow",
            f"the request came with less than {bounds.slowest / 1024:g} KiB/s, or not within {bounds.seconds:g} s: "
            "send a smaller file",
        ) from None


async def read_model(request: Request, model: type[Model], slowest: int) -> Model:
    """Reads a short JSON body that holds what a model says.

    Args:
        request: request whose body has not been read.
        model: what the JSON is to hold.
        slowest: lowest speed, bytes/s.

    Raises:
        ImageRejected: it is too long, too slow, or no JSON.
        RequestValidationError: it does not hold what is asked for.
    """
    body = await read(request, Bounds(MODEL_BYTES, 0, files=0, slowest=slowest))
    try:
        return model.model_validate(parse(body.content, MODEL_PARTS))
    except ValidationError as error:
        # The first few, and names as they are sent only at their beginnings: a refusal is short.
        faults = [{**each, "loc": ("body", *(str(part)[:60] for part in each["loc"]))} for each in error.errors()[:3]]
        raise RequestValidationError(faults) from None


def parse(body: bytes, parts: int, what: str = "the body") -> object:
    """Parses JSON of a request.

    Args:
        body: JSON, UTF-8.
        parts: most values that it may hold. They are counted by commas and brackets, which base64 does not have.
            Without this limit, ten million empty lists would fit into the bytes of an image and take 800 MB of memory.
        what: words for the JSON in messages.

    Raises:
        ImageRejected: it is no JSON, holds a number that is not finite, or has too many values.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > parts:
        raise ImageRejected(400, "invalid_json", f"{what} has more than {parts} values: send fewer")
    try:
        return loads(body)
    except (ValueError, RecursionError) as error:
        raise ImageRejected(400, "invalid_json", f"{what} is not JSON: {error}") from None


def from_base64(text: str) -> bytes:
    """Decodes base64, on one line or wrapped, or in a data: URI.

    Raises:
        ImageRejected: the text is not base64.
    """
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


async def _content(request: Request, limit: int) -> bytes:
    """Reads a body that is no form, no further than the limit."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_many_bytes(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_many_bytes(limit)
    return bytes(body)


async def _form(request: Request, bounds: Bounds) -> Body:
    limited = _limited(request, bounds.file_bytes + bounds.field_bytes)
    try:
        async with limited.form(max_files=bounds.files, max_fields=32, max_part_size=bounds.field_bytes) as form:
            items = form.multi_items()
            files = [(name, await part.read()) for name, part in items if isinstance(part, UploadFile)]
            fields = [(name, part) for name, part in items if isinstance(part, str)]
    except UnicodeError:  # some charsets that a form may name raise more than a bad letter's UnicodeDecodeError
        raise ImageRejected(400, "invalid_form", "the form is not in the charset that it names: send UTF-8") from None
    return Body(FORM, b"", tuple(files), tuple(fields))


def _timed(request: Request, patience: asyncio.Timeout, bounds: Bounds) -> Request:
    """Wraps the request so that every byte that arrives extends the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + bounds.seconds

    async def receive() -> Message:
        message = await request.receive()
        won = (patience.when() or 0.0) + len(message.get("body", b"")) / bounds.slowest
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
