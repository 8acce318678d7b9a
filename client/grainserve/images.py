"""Images on their way in (bytes to submit) and on their way back (pixels to draw on)."""

from __future__ import annotations

import io
import mimetypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import InvalidImage
from grainserve.reading.picture import Header, Picture, read_header, read_picture, upright_rgb
from grainserve.reading.refusal import Refused
from grainserve.reading.stretch import Levels, eight_bits

ImageSource = str | PathLike[str] | bytes | NDArray[Any]


def image_bytes(image: ImageSource) -> tuple[bytes, str]:
    """Returns an image's bytes as they will be submitted, and their content type.

    Args:
        image: a path; the bytes of an image file; or an array, H × W, H × W × 3 or H × W × 4, uint8, or H × W
            uint16, which becomes a PNG. Files and bytes go as they are; `check_image` tells what is no image.

    Raises:
        InvalidImage: no such file, nothing in it, or an array of another shape or dtype.
    """
    if isinstance(image, np.ndarray):
        return _png(image), "image/png"
    if isinstance(image, bytes | bytearray | memoryview):
        data, content_type = bytes(image), "application/octet-stream"
    else:
        path = Path(image)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidImage(f"{path} cannot be read: {error.strerror or error}") from error
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if not data:
        raise InvalidImage("the image has no bytes: give an image file")
    return data, content_type


def _png(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    _from_array(array).save(buffer, "PNG")
    return buffer.getvalue()


def _from_array(array: NDArray[Any]) -> Image.Image:
    colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (colour or grey) or 0 in array.shape:
        raise InvalidImage(
            f"an array of shape {array.shape} and dtype {array.dtype} is no image: give H × W, H × W × 3 or H × W × 4 "
            "of uint8, or H × W of uint16"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def check_image(data: bytes) -> Header:
    """Reads the header of an image file.

    Raises:
        InvalidImage: it is no image, or of a kind that is not read; the message says what to do.
    """
    try:
        with _without_warnings():
            return read_header(data, most_reads=None)
    except Refused as refused:
        raise InvalidImage(str(refused)) from None


def frame_size(image: ImageSource) -> tuple[int, int]:
    """Reads an image's width and height, px, from its header.

    Raises:
        InvalidImage: as `image_bytes`, or the file is not read.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image).size
    header = check_image(image_bytes(image)[0])
    return header.width, header.height


def decoded(image: ImageSource) -> tuple[str, Picture]:
    """Decodes an image of any size, as the handler would.

    Returns:
        Its format (PNG, JPEG, TIFF, BMP, WEBP, or `array`), and its pixels.

    Raises:
        InvalidImage: it cannot be read.
    """
    try:
        with _without_warnings():
            if isinstance(image, np.ndarray):
                return "array", _picture(image)
            data, _ = image_bytes(image)
            header = check_image(data)
            return header.format, read_picture(data, header, most_reads=None)
    except Refused as refused:
        raise InvalidImage(str(refused)) from None


def _picture(array: NDArray[Any]) -> Picture:
    picture = _from_array(array)
    if array.dtype == np.uint8:
        return Picture(upright_rgb(picture), picture.mode, ())
    pixels, warnings = eight_bits(Levels(array[..., None]))
    return Picture(pixels, picture.mode, warnings)


def display_pixels(image: ImageSource) -> NDArray[np.uint8]:
    """Decodes an image for display, upright as it was measured.

    Returns:
        H × W × 3, uint8; see `read_picture`.

    Raises:
        InvalidImage: it cannot be read.
    """
    return decoded(image)[1].pixels


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns from half its limit on: mosaics of microscopes are that large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
