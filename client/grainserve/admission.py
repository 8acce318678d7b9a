"""Which images are taken, told from their headers; the refusals have the handler's codes and statuses."""

from __future__ import annotations

import threading

from grainserve.errors import ImageRejected
from grainserve.images import MAX_SIDE
from grainserve.reading import png
from grainserve.reading.picture import Header, read_header
from grainserve.reading.refusal import Refused

MAX_MIB = 24
"""Largest image file, MiB, that the handler accepts."""
MAX_MEGAPIXELS = 40
"""Largest image that is measured in tiles for others, or shown, megapixels."""
MAX_LEVELS_MIB = 240
"""Most bytes of a deep image's unpacked levels, MiB: those of 40 megapixels in colour, of 16 bits."""
DECODING_MIB = 1100
"""Most memory that decoding such an image takes, MiB, its pixels included; measured."""
DECODING = threading.Lock()
"""Held while a large image is decoded: one at a time in a process, for the memory that it takes."""
STATUS = {"decompression_bomb": 413} | dict.fromkeys(
    ("not_an_image", "unsupported_format", "multiple_pages", "truncated_image"), 415
)
"""HTTP status of a refused image, by the code of the refusal. The handler answers with the same statuses."""


def check_header(image: bytes) -> str:
    """Reads the header of an image for a model, not its pixels; returns its content type.

    Args:
        image: bytes of the image file.

    Raises:
        ImageRejected: the file is empty, no image, of a format or pixel type that is not read, of several pages, or
            larger than MAX_SIDE.
    """
    header = _read(image)
    if is_large(header):
        raise _too_large(
            header,
            f"the limit is {MAX_SIDE} px on the longer side: scale it down, or measure it with `grainserve analyze`, "
            "which cuts it into tiles",
        )
    return header.content_type


def check_any(image: bytes) -> Header:
    """Reads the header of an image of any size that is decoded for others, not its pixels.

    Raises:
        ImageRejected: as `check_header`, except that the image may be large: it has more than MAX_MEGAPIXELS, or its
            levels more than MAX_LEVELS_MIB.
    """
    header = _read(image)
    pixels = header.width * header.height
    if pixels > MAX_MEGAPIXELS * 10**6:
        raise _too_large(header, f"the limit is {MAX_MEGAPIXELS} megapixels: scale it down, or cut it")
    levels = pixels * _bytes_of_a_pixel(image, header)
    if levels > MAX_LEVELS_MIB * 2**20:
        raise _too_large(
            header,
            f"its levels unpack to {levels / 2**20:.0f} MiB, and the limit is {MAX_LEVELS_MIB}: save it with 8 bits",
        )
    return header


def is_large(header: Header) -> bool:
    """Tells whether an image is larger than a model takes."""
    return max(header.width, header.height) > MAX_SIDE


def refused(fault: Refused) -> ImageRejected:
    """Returns the refusal of a file that is not read, with the handler's status."""
    return ImageRejected(STATUS[fault.code], fault.code, str(fault))


def too_many_bytes(limit: int) -> ImageRejected:
    """Returns the refusal of a request, or of an object, over its limit.

    Args:
        limit: the limit, bytes.
    """
    return ImageRejected(413, "too_many_bytes", f"the request is over its limit of {limit} bytes: send a smaller file")


def _read(image: bytes) -> Header:
    if not image:
        raise ImageRejected(400, "empty_body", "the image has no bytes: send an image file")
    try:
        return read_header(image)
    except Refused as fault:
        raise refused(fault) from None


def _bytes_of_a_pixel(image: bytes, header: Header) -> float:
    """Returns the bytes of a pixel's levels; 0 where Pillow reads them, whose pictures have 8 bits."""
    if header.page:
        return header.page.samples * header.page.bits / 8
    return 2 * len(png.mode(image).removesuffix(";16")) if png.is_deep(image) else 0


def _too_large(header: Header, why: str) -> ImageRejected:
    return ImageRejected(413, "image_too_large", f"the image is {header.width} × {header.height} px, {why}")
