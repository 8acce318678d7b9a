"""A PNG's pixels of 16 bits → levels.

Pillow has no picture of 16-bit colour: it reads only the upper bytes of such a file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from grain_handler.reading.levels import upright
from grain_handler.reading.stretch import Levels

GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6
MODES = {GREY: "I;16", RGB: "RGB;16", GREY_ALPHA: "LA;16", RGB_ALPHA: "RGBA;16"}
MOST = 65535
ORIENTATION = 0x0112

Open = Callable[[bytes], ImageFile]


def is_deep(data: bytes) -> bool:
    """Tells whether a PNG has 16 bits for each value of a pixel."""
    return data[12:16] == b"IHDR" and data[24:25] == b"\x10" and data[25:26] in map(bytes, ([each] for each in MODES))


def mode(data: bytes) -> str:
    """Returns Pillow's name of a deep PNG's pixel type, or a name made as Pillow's are."""
    return MODES[data[25]]


def read_levels(data: bytes, opened: Open) -> Levels:
    """Reads a deep PNG's pixels, upright.

    Args:
        data: image file.
        opened: function that opens a file with Pillow.

    Raises:
        Exception: Pillow's error on a damaged file.
    """
    colour = data[25]
    with opened(data) as picture:
        key, orientation = picture.info.get("transparency"), picture.getexif().get(ORIENTATION, 1)
        if colour == GREY:
            values = np.asarray(picture)[..., None]
    if colour == GREY_ALPHA:
        # A pixel has four bytes, as in 8-bit RGBA. The header may say RGBA, since PNG's filters work on bytes.
        with opened(_with_header(data, 8, RGB_ALPHA)) as picture:
            values = np.asarray(picture).view(">u2")
    elif colour != GREY:
        upper, lower = (_bytes(data, order, opened) for order in "BL")
        values = upper.astype(np.uint16) << 8 | lower
    values = upright(values, orientation)
    alpha: NDArray[Any] | None = None
    if colour in (GREY_ALPHA, RGB_ALPHA):
        values, alpha = values[..., :-1], values[..., -1] / MOST
    elif key is not None:
        alpha = (values != np.array(key)).any(axis=2)
    return Levels(values, None if alpha is None else alpha.astype(np.float32))


def _bytes(data: bytes, order: str, opened: Open) -> NDArray[np.uint8]:
    """Reads the first (B) or the second (L) byte of each value: the upper byte for a reader of that byte order."""
    with opened(data) as picture:
        (tile,) = picture.tile
        picture.tile = [tile._replace(args=f"{picture.mode};16{order}")]
        return np.asarray(picture)


def _with_header(data: bytes, bits: int, colour: int) -> bytes:
    header = data[12:24] + bytes((bits, colour)) + data[26:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
