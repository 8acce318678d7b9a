"""Reads uploads: raw bytes, a form or JSON → image bytes and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from grainserve.admission import MAX_MIB, check_any, is_large, too_many_bytes
from grainserve.contract import options_from_text, validate_options, whole_number
from grainserve.errors import ImageRejected, InvalidOption
from grainserve.gateway import bodies, found_scale
from grainserve.gateway.service import Limits
from grainserve.images import MAX_SIDE
from grainserve.jobs.job import AUTO, LARGEST_GRAIN
from grainserve.library.entries import checked_name
from grainserve.reading.picture import READ
from grainserve.tiles.layout import MAX_LARGEST_GRAIN

JSON_PARTS = 1000
"""Values that the JSON of an upload may hold."""
LARGEST_MIB = 120
"""Most memory that a place of an upload takes, MiB: the largest image as JSON, while it is parsed."""
LARGE_TIMES = 4
"""How many times the size of an image that a model takes whole one may have that is measured in tiles."""


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


def large_bytes(max_bytes: int, most_places: int) -> int:
    """Returns the size of the largest image that is measured in tiles, bytes.

    Args:
        max_bytes: size of the largest image of the caller that a model takes whole, bytes.
        most_places: places of uploads that the caller may have.
    """
    return max(max_bytes, min(LARGE_TIMES * max_bytes, most_places * MAX_MIB * 2**20))


@dataclass(frozen=True)
class Size:
    """How large an upload may be.

    Attributes:
        max_bytes: size of the largest image that a model takes whole, bytes.
        large_bytes: size of the largest image that is measured in tiles, bytes.
        places: places that the upload takes: each has the memory, and the time, of `MAX_MIB`.
    """

    max_bytes: int
    large_bytes: int
    places: int

    @classmethod
    def of(cls, request: Request, max_bytes: int, most_places: int) -> Size:
        """Returns the sizes for a request, by what it says of its own length.

        Args:
            request: the request.
            max_bytes: size of the largest image of the caller, bytes.
            most_places: places that the caller may have.
        """
        length = int(request.headers.get("content-length", 0))
        places = min(-(-length // (MAX_MIB * 2**20)), most_places) if bodies.kind_of(request) != bodies.JSON else 1
        # A body of unknown length could outgrow its place.
        large = large_bytes(max_bytes, most_places) if length else max_bytes
        return cls(max_bytes, large, max(1, places))


async def read(request: Request, size: Size, slowest: int = Limits.slowest) -> Upload:
    """Reads an upload and checks it, before anything is stored.

    Args:
        request: JSON (`{"image": base64, …options}`, or `{"uri": "gs://…", …options}` for an object of a bucket), a
            form (`image` and a field per option), or the image's bytes. Options may also be query parameters. `name`
            and `scale` (`file` or `auto`) are some.
        size: how large it may be.
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
    bounds = bodies.Bounds(
        size.large_bytes,
        bodies.FIELD_BYTES,
        files=1,
        slowest=slowest,
        json_bytes=size.max_bytes,
        times=size.places,
    )
    body = await bodies.read(request, bounds)

    def checked() -> Upload:
        image, options = _from_json(body.content) if body.kind == bodies.JSON else _from_other(body)
        options = _merged(_from_text([each for each in query if each[0] not in ("name", "scale")]), options)
        if scale and (isinstance(image, str) or options.keys() & {"um_per_px", "scale_source"}):
            raise InvalidOption("scale is for an image that is sent without one: leave scale, or um_per_px, out")
        if isinstance(image, str):
            options.pop(LARGEST_GRAIN, None)  # an object over 1024 px is not taken
            return Upload(image, "", options, name, scale)
        return Upload(image, _checked(image, options, size), options, name, scale)

    # 32 MB of JSON take a few hundred ms to parse. In the event loop they would hold up every other request.
    return await run_in_threadpool(checked)


def _checked(image: bytes, options: dict[str, Any], size: Size) -> str:
    """Checks an image by its size and its header, and completes the options by what follows; returns its content type.

    Raises:
        ImageRejected: as `read`.
        InvalidOption: the masks are to have a form that tiles are not merged in.
    """
    try:
        header = check_any(image)
    except ImageRejected:
        check_size(image, size.max_bytes)
        raise
    if not is_large(header):
        check_size(image, size.max_bytes)
        options.pop(LARGEST_GRAIN, None)  # there is one tile, whatever it is
        return header.content_type
    options.setdefault(LARGEST_GRAIN, AUTO)
    if options.get("mask_format", "rle") != "rle":
        raise InvalidOption(
            f"mask_format is {options['mask_format']!r}; images over {MAX_SIDE} px are merged from 'rle' masks: leave "
            "it out"
        )
    return header.content_type


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
        return uri if isinstance(uri, str) else "", _options(given)
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        wanted = '{"image": "<base64>", …options}, or {"uri": "gs://…", …options}'
        raise ImageRejected(400, "missing_image", f"the body has no image: send {wanted}")
    return bodies.from_base64(given.pop("image")), _options(given)


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
    largest = given.pop(LARGEST_GRAIN, "")
    try:
        number: object = whole_number(largest)
    except ValueError:
        number = largest
    return options_from_text(given) | _largest_grain(number)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Reads options from JSON."""
    largest = given.pop(LARGEST_GRAIN, None)
    return validate_options(given) | _largest_grain(largest)


def _largest_grain(given: object) -> dict[str, Any]:
    """Checks the option that only jobs of large images have; nothing and null mean that it is not given."""
    if given in (None, ""):
        return {}
    whole = isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= MAX_LARGEST_GRAIN
    if not whole and given != AUTO:
        shown = repr(given)[:64] if isinstance(given, str | int | float) else f"a {type(given).__name__}"
        raise InvalidOption(
            f"{LARGEST_GRAIN} is {shown}; it must be an integer from 1 to {MAX_LARGEST_GRAIN} (px), or {AUTO!r}"
        )
    return {LARGEST_GRAIN: given}


def _merged(query: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if both := query.keys() & body.keys():
        raise InvalidOption(f"{', '.join(sorted(both))}: in the query and in the body; give each option once")
    return query | body
