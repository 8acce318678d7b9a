"""A TIFF's pixels of any type → levels.

Pillow unpacks some rows at a time: a new directory calls their bytes an 8-bit grey picture. NumPy then reads the
numbers. So libtiff unpacks every compression, as it does for other pictures.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grain_handler.reading.refusal import damaged
from grain_handler.reading.stretch import Levels
from grain_handler.reading.tiff import CMYK, PAIRS, TYPES, WHITE_IS_ZERO, Page, Tag

DIRECTORIES = (330, 34665, 34853, 40965)
"""Tags that point to further directories."""
ROWS = 256
"""Rows that are read at once; if a strip or tile has more, all its rows."""
LONG = 4

Entries = Mapping[int, tuple[int, NDArray[Any]]]
"""Type and values of each entry, by tag."""


def alone(page: Page) -> bytes:
    """Writes a file with one page only, in the byte order and with the header from which Pillow reads all pictures.

    Args:
        page: page to keep.

    Raises:
        Refused: the file would be over 4 GiB.
    """
    entries = {
        tag: (kind, page.numbers(tag))
        for tag, (kind, *_) in page.entries.items()
        if tag not in DIRECTORIES and kind in TYPES
    }
    return _file(memoryview(page.data)[8:], entries)


def read_levels(page: Page) -> Levels:
    """Reads a page's pixels.

    Returns:
        The page's levels, upright.

    Raises:
        Refused: the page is damaged.
        Exception: Pillow's error on a damaged file.
    """
    values = upright(_values(page), page.number(Tag.ORIENTATION, 1))
    colours, more = values[..., : page.colours], page.samples - page.colours
    alpha, warnings = None, list[str]()
    if more and page.extra[:1] in ((1,), (2,)):
        alpha = _shares(values[..., page.colours], page.bits)
        if page.extra[0] == 1:
            colours = _unmultiplied(colours, alpha)
        more -= 1
    if more:
        warnings.append(f"{more} of the TIFF's {page.samples} bands are no colour and were left out")
    if page.photometric == CMYK:
        colours = _rgb(colours)
        warnings.append("CMYK was made RGB")
    return Levels(colours, alpha, page.photometric == WHITE_IS_ZERO, page.nodata, tuple(warnings))


def _values(page: Page) -> NDArray[Any]:
    """Reads all values of all pixels, H × W × samples, as they are stored."""
    planes, per = (page.samples, 1) if page.planar else (1, page.samples)
    size = page.bits if page.bits in (8, 16, 32, 64) else 16
    values = np.empty((page.height, page.width, page.samples), f"{page.format[0]}{size // 8}")
    for plane in range(planes):
        for rows, packed in _unpacked(page, plane, planes, per):
            values[rows, :, plane * per : (plane + 1) * per] = _numbers(page, packed, per)
    return values


def _unpacked(page: Page, plane: int, planes: int, per: int) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yields the unpacked bytes of some rows at a time: the rows, and rows × strips or tiles across × bytes."""
    wide, high = page.tile or (page.width, min(page.number(Tag.ROWS_PER_STRIP, page.height), page.height))
    if high < 1:
        raise damaged("TIFF", f"its strips have {high} rows")
    across, down, row = -(-page.width // wide), -(-page.height // high), -(-wide * per * page.bits // 8)
    offsets, counts = (page.numbers(tag).astype(np.int64) for tag in page.segments)
    if page.compression == 1:
        counts = np.full(offsets.size, row * high)
    if min(offsets.size, counts.size) < planes * down * across:
        raise damaged(
            "TIFF", f"it has {offsets.size} strips or tiles, and its size is that of {planes * down * across}"
        )
    offsets, counts = (each[plane * down * across : (plane + 1) * down * across] for each in (offsets, counts))
    if page.compression == 1 and not page.tile:  # row by row: some programs write a single strip
        rows = np.arange(page.height)
        offsets, counts = offsets[rows // high] + rows % high * row, np.full(page.height, row)
        high, down = 1, page.height
    step = max(1, ROWS // high)
    for first in range(0, down, step):
        top, bottom = first * high, min((first + step) * high, page.height)
        some = slice(first * across, (first + step) * across)
        file = _picture(
            page, offsets[some], counts[some], (across * row, bottom - top), (row, high) if page.tile else high
        )
        with Image.open(io.BytesIO(file), formats=["TIFF"]) as picture:
            yield slice(top, bottom), np.asarray(picture).reshape(bottom - top, across, row)


def _picture(
    page: Page,
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    size: tuple[int, int],
    segment: tuple[int, int] | int,
) -> bytes:
    """Writes a TIFF of some of a page's strips or tiles, as an 8-bit grey picture.

    Args:
        page: page that holds the strips or tiles.
        offsets: places of the strips or tiles in the file, bytes.
        counts: lengths of the strips or tiles, bytes.
        size: width and height of the picture, px.
        segment: width and height of a tile, or height of a strip, px of the picture.

    Raises:
        Refused: the strips or tiles lie beyond the file's end, or overlap.
    """
    if min(offsets.min() - 8, counts.min()) < 0 or (counts > len(page.data) - offsets).any():
        raise damaged("TIFF", "a strip or tile lies beyond its end")
    if counts.sum() > len(page.data):
        raise damaged("TIFF", "its strips or tiles lie on each other")
    body = b"".join(page.data[offset : offset + count] for offset, count in zip(offsets, counts, strict=True))
    entries: dict[int, Any] = {
        Tag.WIDTH: size[0],
        Tag.LENGTH: size[1],
        Tag.BITS: 8,
        Tag.COMPRESSION: page.compression,
        Tag.PHOTOMETRIC: 1,
        Tag.FILL_ORDER: page.number(Tag.FILL_ORDER, 1),
        Tag.SAMPLES: 1,
    }
    starts = 8 + np.cumsum(counts) - counts
    if isinstance(segment, tuple):
        entries |= {Tag.TILE_WIDTH: segment[0], Tag.TILE_LENGTH: segment[1]}
        entries |= {Tag.TILE_OFFSETS: starts, Tag.TILE_COUNTS: counts}
    else:
        entries |= {Tag.ROWS_PER_STRIP: segment, Tag.STRIP_OFFSETS: starts, Tag.STRIP_COUNTS: counts}
    return _file(body, {tag: (LONG, np.atleast_1d(value)) for tag, value in entries.items()})


def _file(body: bytes | memoryview, entries: Entries) -> bytes:
    """Writes a TIFF of one page: little-endian, with 32-bit places.

    Args:
        body: bytes between header and directory.
        entries: entries of the directory.

    Raises:
        Refused: the file would be over 4 GiB.
    """
    begin = 8 + len(body) + len(body) % 2
    behind = begin + 2 + 12 * len(entries) + 4
    directory, more = [struct.pack("<H", len(entries))], list[bytes]()
    for tag, (kind, values) in sorted(entries.items()):
        short = {16: LONG, 17: 9, 18: 13}.get(kind, kind)
        if (short != kind and values.size and values.max() >= 2**32) or behind >= 2**32:
            raise damaged("TIFF", "it has places beyond 4 GiB")
        packed = values.astype("<" + TYPES[short]).tobytes()
        directory.append(struct.pack("<HHI", tag, short, values.size // (1 + (kind in PAIRS))))
        if len(packed) > 4:
            directory.append(struct.pack("<I", behind))
            more.append(packed + bytes(len(packed) % 2))
            behind += len(more[-1])
        else:
            directory.append(packed.ljust(4, b"\0"))
    head = struct.pack("<2sHI", b"II", 42, begin)
    return b"".join((head, body, bytes(len(body) % 2), *directory, bytes(4), *more))


def _numbers(page: Page, packed: NDArray[np.uint8], per: int) -> NDArray[Any]:
    """Reads numbers from unpacked bytes.

    Args:
        page: page that the bytes are from.
        packed: unpacked bytes, rows × strips or tiles across × bytes.
        per: numbers of a pixel.

    Returns:
        Rows × width × per.
    """
    rows, across, _ = packed.shape
    wide = page.tile[0] if page.tile else page.width
    predictor, size = page.number(Tag.PREDICTOR, 1), page.bits // 8
    dtype = np.dtype(f"{page.order}{page.format[0]}{size}") if page.bits in (8, 16, 32, 64) else np.dtype(np.uint16)
    if page.bits not in (8, 16, 32, 64):
        numbers = _odd_bits(packed, wide * per, page.bits)
    elif predictor == 3:  # differences of bytes; in a row, the first bytes of all numbers come first
        summed = np.cumsum(packed.reshape(rows, across, -1, per), axis=2, dtype=np.uint8)
        apart = summed.reshape(rows, across, size, -1)
        numbers = np.ascontiguousarray(np.moveaxis(apart, 2, 3)).view(f">f{size}")
    else:
        numbers = np.ascontiguousarray(packed).view(dtype)
    numbers = numbers.reshape(rows, across, wide, per)
    if predictor == 2:  # differences from one pixel to the next, as whole numbers of any type
        whole = np.dtype(f"u{size}")
        summed = np.cumsum(numbers.view(np.dtype(f"{page.order}u{size}")), axis=2, dtype=whole)
        numbers = summed.view(dtype.newbyteorder("="))
    return numbers.reshape(rows, across * wide, per)[:, : page.width]


def _odd_bits(packed: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint16]:
    """Unpacks numbers of 1 to 15 bits, one behind the other, to 16 bits each."""
    rows, across, _ = packed.shape
    single = np.unpackbits(packed, axis=2)[..., : count * bits].reshape(rows, across, count, bits)
    padded = np.concatenate([np.zeros((rows, across, count, 16 - bits), np.uint8), single], axis=3)
    return np.packbits(padded, axis=3).view(">u2").astype(np.uint16)


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns pixels (height × width × samples) upright.

    Args:
        values: pixels as stored.
        orientation: value of TIFF's orientation tag, 1 to 8.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _shares(alpha: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Scales alpha of any type to 0…1."""
    most = {"u": 2.0**bits - 1, "i": 2.0 ** (bits - 1) - 1}.get(alpha.dtype.kind, 1.0)
    return np.nan_to_num(np.clip(alpha.astype(np.float64) / most, 0, 1)).astype(np.float32)


def _unmultiplied(colours: NDArray[Any], alpha: NDArray[np.float32]) -> NDArray[Any]:
    """Divides colours by the alpha that they were multiplied by: to 8 bits if they have 8 bits, else to float64."""
    shares = np.where(alpha > 0, alpha, 1)[..., None].astype(np.float64)
    divided: NDArray[np.float64] = colours / shares
    return np.rint(divided.clip(0, 255)).astype(np.uint8) if colours.dtype == np.uint8 else divided


def _rgb(cmyk: NDArray[Any]) -> NDArray[np.uint16]:
    """Converts CMYK to RGB, H × W × 4 → H × W × 3, uint16.

    As in Pillow, a channel is the share of the paper that neither its ink nor black covers.
    """
    most = np.uint32(65535)
    rgb = np.empty((*cmyk.shape[:2], 3), np.uint16)
    for top in range(0, len(cmyk), ROWS):
        paper = most - cmyk[top : top + ROWS].astype(np.uint32)
        rgb[top : top + ROWS] = (paper[..., :3] * paper[..., 3:] + most // 2) // most
    return rgb
