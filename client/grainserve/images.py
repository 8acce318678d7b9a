"""Images on their way in (bytes to submit) and on their way back (pixels to draw on)."""

from __future__ import annotations

import io
import mimetypes
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from grainserve.errors import InvalidImage

ImageSource = str | PathLike[str] | bytes | NDArray[Any]


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
    colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (colour or grey) or 0 in array.shape:
        raise InvalidImage(
            f"an array of shape {array.shape} and dtype {array.dtype} is no image: give H × W, H × W × 3 or H × W × 4 "
            "of uint8, or H × W of uint16"
        )
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    return buffer.getvalue()


def display_pixels(image: ImageSource) -> NDArray[np.uint8]:
    """Decodes an image for display, upright as it was measured.

    Returns:
        H × W × 3, uint8: EXIF orientation applied, transparency over white, 16-bit grey rescaled by its range.

    Raises:
        InvalidImage: it cannot be read.
    """
    data, _ = image_bytes(image)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I") or upright.mode == "F":
                return _grey_to_rgb(np.asarray(upright, dtype=np.float64))
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidImage(f"the image cannot be decoded: {error}") from error


def _grey_to_rgb(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = float(grey.min()), float(grey.max())
    scaled = np.zeros(grey.shape) if high == low else (grey - low) * (255.0 / (high - low))
    return np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)
