"""A PNG's pixels of 16 bits → levels. Pillow has no picture of 16-bit colour, and reads such files' upper bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from grainserve.reading.levels import upright
from grainserve.reading.stretch import Levels

GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6
MODES = {GREY: "I;16", RGB: "RGB;16", GREY_ALPHA: "LA;16", RGB_ALPHA: "RGBA;16"}
MOST = 65535
ORIENTATION = 0x0112

Open = Callable[[bytes], ImageFile]


def is_deep(data: bytes) -> bool:
    """Whether a PNG has 16 bits for each value of a pixel."""
    return data[12:16] == b"IHDR" and data[24:25] == b"\x10" and data[25:26] in map(bytes, ([each] for each in MODES))


def mode(data: bytes) -> str:
    """Pillow's name of a deep PNG's pixel type, or one made as Pillow's are."""
    return MODES[data[25]]


def read_levels(data: bytes, opened: Open) -> Levels:
    """Reads a deep PNG's pixels; upright.

    Args:
        data: The file.
        opened: Opens a file with Pillow.

    Raises:
        Exception: What Pillow raises of a damaged file.
    """
    colour = data[25]
    with opened(data) as picture:
        key, orientation = picture.info.get("transparency"), picture.getexif().get(ORIENTATION, 1)
        if colour == GREY:
            values = np.asarray(picture)[..., None]
    if colour == GREY_ALPHA:
        # Four bytes a pixel, as in 8-bit RGBA: the header may say so, since PNG's filters work on bytes.
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
    """The first (B) or second (L) byte of each value: where a reader of that byte order looks for the upper one."""
    with opened(data) as picture:
        (tile,) = picture.tile
        picture.tile = [tile._replace(args=f"{picture.mode};16{order}")]
        return np.asarray(picture)


def _with_header(data: bytes, bits: int, colour: int) -> bytes:
    header = data[12:24] + bytes((bits, colour)) + data[26:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
