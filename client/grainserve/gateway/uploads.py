"""Reads uploads: raw bytes, a form or JSON → image bytes and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from grainserve.admission import check_header, too_many_bytes
from grainserve.contract import options_from_text, validate_options
from grainserve.errors import ImageRejected, InvalidOption
from grainserve.gateway import bodies, found_scale
from grainserve.gateway.service import Limits
from grainserve.library.entries import checked_name
from grainserve.reading.picture import READ

JSON_PARTS = 1000
"""Values that the JSON of an upload may hold."""
LARGEST_MIB = 120
"""Most memory that an upload takes, MiB: the largest image as JSON, while it is parsed."""


@dataclass(frozen=True)
class Upload:
    """A checked upload.

    Attributes:
        image: bytes of the image file, or the URI of an object, which is not checked here.
        content_type: content type by the file's header; empty for an object.
        options: options of the request.
        name: name of the image in the caller's history; empty where none was given.
        find_scale: where its scale is to be looked for; empty for nowhere.
    """

    image: bytes | str
    content_type: str
    options: dict[str, Any]
    name: str = ""
    find_scale: found_scale.Asked = ""


async def read(request: Request, max_bytes: int, slowest: int = Limits.slowest) -> Upload:
    """Reads an upload and checks it, before anything is stored.

    Args:
        request: JSON (`{"image": base64, …options}`, or `{"uri": "gs://…", …options}` for an object of a bucket), a
            form (`image` and a field per option), or the image's bytes. Options may also be query parameters. `name`
            and `scale` (`file` or `auto`) are some.
        max_bytes: size of the largest image, bytes.
        slowest: lowest speed, bytes/s.

    Raises:
        ImageRejected: 400, 408, 413 or 415; the message says what to do.
        InvalidOption: an option is unknown, out of range or given twice; the name is not allowed; or a scale is to be
            found where one is given, or for an object.
    """
    query = request.query_params.multi_items()
    names = [value for key, value in query if key == "name"]
    if len(names) > 1:
        raise InvalidOption("name is given twice: give it once")
    name = checked_name(*names) if names else ""
    scale = found_scale.asked_for([value for key, value in query if key == "scale"])
    body = await bodies.read(request, bodies.Bounds(max_bytes, bodies.FIELD_BYTES, files=1, slowest=slowest))

    def checked() -> Upload:
        image, options = _from_json(body.content) if body.kind == bodies.JSON else _from_other(body)
        if isinstance(image, bytes):
            check_size(image, max_bytes)
        options = _merged(_from_text([each for each in query if each[0] not in ("name", "scale")]), options)
        if scale and (isinstance(image, str) or options.keys() & {"um_per_px", "scale_source"}):
            raise InvalidOption("scale is for an image that is sent without one: leave scale, or um_per_px, out")
        return Upload(image, check_header(image) if isinstance(image, bytes) else "", options, name, scale)

    # 32 MB of JSON take a few hundred ms to parse. In the event loop they would hold up every other request.
    return await run_in_threadpool(checked)


def check_size(image: bytes, max_bytes: int) -> None:
    """Checks an image's size against a key's limit.

    Raises:
        ImageRejected: the image has more bytes.
    """
    if len(image) > max_bytes:
        raise too_many_bytes(max_bytes)


def content_type(beginning: bytes) -> str:
    """Returns the content type of an image file by its first bytes; other files get a type that no browser displays."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    found = (f"image/{kind.lower()}" for magic, kind in READ.items() if beginning.startswith(magic))
    return next(found, "application/octet-stream")


def _from_json(body: bytes) -> tuple[bytes | str, dict[str, Any]]:
    given = bodies.parse(body, JSON_PARTS)
    if isinstance(given, dict) and "uri" in given and "image" not in given:
        uri = given.pop("uri")
        return uri if isinstance(uri, str) else "", validate_options(given)
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        wanted = '{"image": "<base64>", …options}, or {"uri": "gs://…", …options}'
        raise ImageRejected(400, "missing_image", f"the body has no image: send {wanted}")
    return bodies.from_base64(given.pop("image")), validate_options(given)


def _from_other(body: bodies.Body) -> tuple[bytes, dict[str, Any]]:
    if body.kind != bodies.FORM:
        return body.content, {}
    image = dict(body.files).get("image")
    if image is None:
        raise ImageRejected(400, "missing_image", "the form has no file named image")
    return image, _from_text(list(body.fields))


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
