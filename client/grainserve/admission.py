"""Which images a model takes whole, told from their headers; the refusals have the handler's codes and statuses."""

from __future__ import annotations

from grainserve.errors import ImageRejected
from grainserve.images import MAX_SIDE
from grainserve.reading.picture import read_header
from grainserve.reading.refusal import Refused

MAX_MIB = 24
"""Largest image file, MiB, that the handler accepts."""
STATUS = {"decompression_bomb": 413} | dict.fromkeys(
    ("not_an_image", "unsupported_format", "multiple_pages", "truncated_image"), 415
)
"""HTTP status of a refused image, by the code of the refusal. The handler answers with the same statuses."""


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
    except Refused as fault:
        raise refused(fault) from None
    width, height = header.width, header.height
    if max(width, height) > MAX_SIDE:
        raise ImageRejected(
            413,
            "image_too_large",
            f"the image is {width} × {height} px, the limit is {MAX_SIDE} px on the longer side: scale it down, or "
            "measure it with `grainserve analyze`, which cuts it into tiles",
        )
    return header.content_type


def refused(fault: Refused) -> ImageRejected:
    """Returns the refusal of a file that is not read, with the handler's status."""
    return ImageRejected(STATUS[fault.code], fault.code, str(fault))


def too_many_bytes(limit: int) -> ImageRejected:
    """Returns the refusal of a request, or of an object, over its limit.

    Args:
        limit: the limit, bytes.
    """
    return ImageRejected(413, "too_many_bytes", f"the request is over its limit of {limit} bytes: send a smaller file")
