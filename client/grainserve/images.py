"""Images on their way in (bytes to submit) and on their way back (pixels to draw on)."""

from __future__ import annotations

import io
import mimetypes
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from grainserve.errors import InvalidImage

ImageSource = str | PathLike[str] | bytes | NDArray[Any]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""What the handler reads, and so the client."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged files."""
STRIP = 256
"""Rows of deep grey levels that are stretched at once: as floats they take four times the file's memory."""


def image_bytes(image: ImageSource) -> tuple[bytes, str]:
    """Returns an image's bytes as they will be submitted, and their content type.

    Args:
        image: a path; the bytes of an image file; or an array, H × W, H × W × 3 or H × W × 4, uint8, or H × W
            uint16, which becomes a PNG. Files and bytes go as they are: the handler decides what is an image.

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


def frame_size(image: ImageSource) -> tuple[int, int] | None:
    """Reads an image's width and height, px, from its header; None where that is none of `FORMATS`.

    Raises:
        InvalidImage: no such file, an array that is no image, or more than Pillow's limit of 179 megapixels.
    """
    try:
        with opened(image) as picture:
            return picture.size
    except UnidentifiedImageError:
        return None


@contextmanager
def opened(image: ImageSource) -> Iterator[Image.Image]:
    """Opens an image; its pixels are decoded when they are first asked for.

    Raises:
        InvalidImage: as `frame_size`, or its pixels turn out to be damaged.
        UnidentifiedImageError: it is none of `FORMATS`.
    """
    source = _from_array(image) if isinstance(image, np.ndarray) else io.BytesIO(image_bytes(image)[0])
    try:
        if isinstance(source, Image.Image):
            yield source
            return
        with warnings.catch_warnings():
            # Pillow warns from half its limit on: mosaics of microscopes are that large.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(source, formats=FORMATS)
        with picture:
            yield picture
    except UnidentifiedImageError:
        raise
    except Image.DecompressionBombError as error:
        raise InvalidImage("the image has more than 179 megapixels, Pillow's limit: cut it or scale it down") from error
    except BROKEN as error:
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def display_pixels(image: ImageSource) -> NDArray[np.uint8]:
    """Decodes an image for display, upright as it was measured.

    Returns:
        H × W × 3, uint8; see `upright_rgb`.

    Raises:
        InvalidImage: it cannot be read.
    """
    try:
        with opened(image) as picture:
            return upright_rgb(picture)
    except UnidentifiedImageError as error:
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def upright_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """A picture's pixels as the handler sees them.

    Returns:
        H × W × 3, uint8: EXIF orientation applied, transparency over white, deep grey levels stretched from the
        picture's own darkest to its own brightest.

    Raises:
        ValueError: pixels are NaN or infinite.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _stretched(np.asarray(upright))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"))


def _stretched(grey: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(grey.min()), float(grey.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it has pixels that are NaN or infinite")
    rgb = np.zeros((*grey.shape, 3), np.uint8)
    for top in range(0, grey.shape[0] if high > low else 0, STRIP):
        strip = grey[top : top + STRIP].astype(np.float64)
        rgb[top : top + STRIP] = np.rint((strip - low) * (255.0 / (high - low))).astype(np.uint8)[..., None]
    return rgb
