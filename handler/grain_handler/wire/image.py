"""Image bytes → RGB pixels, or a typed error.

The header is read first, alone, so an image over the limit is never decoded. The folder `reading` says which files are
read, and how.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grain_handler.errors import (
    DecompressionBomb,
    EmptyBody,
    ImageTooLarge,
    MultiplePages,
    NotAnImage,
    RequestError,
    TooManyBytes,
    TruncatedImage,
    UnsupportedFormat,
)
from grain_handler.reading.picture import read_header, read_picture
from grain_handler.reading.refusal import Refused

MAX_SIDE = 1024
MAX_BYTES = 24 * 1024 * 1024
"""Longest file, bytes: more than any image of MAX_SIDE needs, 32-bit float RGBA included."""

MAX_SCANS = 256
"""Most scans of a JPEG; cameras write up to 10. For each scan the decoder passes over the whole image, and a scan may
have as few as 12 bytes."""
RUN_LENGTHS = (b"\1\0\0\0", b"\2\0\0\0")
"""Values of a BMP header's compression field that mean run lengths."""
RUN_LENGTH_BYTES = 3 * 2**20
"""Longest BMP of run lengths, bytes: more than two for each pixel of the largest image. Pillow decodes run lengths in
Python, and needs seconds for 24 MiB."""

ERRORS: dict[str, type[RequestError]] = {
    kind.code: kind for kind in (DecompressionBomb, MultiplePages, NotAnImage, TruncatedImage, UnsupportedFormat)
}


@dataclass(frozen=True)
class DecodedImage:
    """An image as SAM sees it, and as it was submitted.

    Attributes:
        pixels: H × W × 3, uint8, RGB, upright.
        format: PNG, JPEG, TIFF, BMP or WEBP.
        mode: name of the submitted pixel type (RGB, L, I;16, RGB;16, …).
        bytes: size of the submitted file, bytes.
        warnings: what the reader changed, in words, for the answer's metadata.
    """

    pixels: NDArray[np.uint8]
    format: str
    mode: str
    bytes: int
    warnings: tuple[str, ...] = ()


def read_image(data: bytes) -> DecodedImage:
    """Decodes one image; `read_picture` says what happens to its pixels.

    Args:
        data: the image file.

    Raises:
        RequestError: the image is empty, too large, damaged or of a kind that is not read; the message says what to do.
    """
    if not data:
        raise EmptyBody("the body is empty: send the image's bytes")
    if len(data) > MAX_BYTES:
        raise TooManyBytes(f"the image has {len(data)} bytes, the limit is {MAX_BYTES}: send a compressed file")
    if data.startswith(b"\xff\xd8\xff") and data.count(b"\xff\xda") > MAX_SCANS:
        raise DecompressionBomb(f"the JPEG has more than {MAX_SCANS} scans: save it again as a usual JPEG")
    if data.startswith(b"BM") and data[30:34] in RUN_LENGTHS and len(data) > RUN_LENGTH_BYTES:
        raise DecompressionBomb("the BMP's run lengths are longer than any image needs: save it as PNG")
    try:
        header = read_header(data)
        if max(header.width, header.height) > MAX_SIDE:
            raise ImageTooLarge(
                f"the image is {header.width} × {header.height} px, the limit is {MAX_SIDE} px on the longer side: "
                "scale it down or cut it into tiles"
            )
        picture = read_picture(data, header)
    except Refused as refused:
        raise ERRORS[refused.code](str(refused)) from None
    return DecodedImage(picture.pixels, header.format, picture.mode, len(data), picture.warnings)
