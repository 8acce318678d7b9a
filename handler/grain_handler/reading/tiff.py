"""A TIFF's directories: they tell which page is the image, and the type of its pixels. Nothing is unpacked here."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grain_handler.reading.refusal import Refused, bomb, damaged, unsupported

ORDERS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""Byte order, and True for a BigTIFF, by a file's first bytes."""
MAX_PARTS = 100_000
"""Most directories and entries of a file; a stack of a thousand pages has a quarter of this."""
MAX_NUMBERS = 2**20
"""Most numbers of one entry; the largest images have some ten thousand strips or tiles."""
TILE_MARGIN = 1024
"""Limit by which a tile may exceed its image, px: programs write tiles of 256 to 1024 px around any small image."""

TYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8"}
TYPES |= {13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""NumPy's names of the number types that an entry may have."""
PAIRS = (5, 10)
"""Types of fractions: two numbers each."""


class Tag(IntEnum):
    """The tags of the entries that are read."""

    SUBFILE_TYPE = 254
    OLD_SUBFILE_TYPE = 255
    WIDTH = 256
    LENGTH = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_COUNTS = 279
    PLANAR = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_COUNTS = 325
    SUB_IFDS = 330
    INK_SET = 332
    EXTRA = 338
    FORMAT = 339
    DEPTH = 32997
    GDAL_NODATA = 42113


WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
COLOURS = {WHITE_IS_ZERO: "grey", GREY: "grey", RGB: "RGB", PALETTE: "palette", 4: "mask", CMYK: "CMYK", YCBCR: "YCbCr"}
COLOURS |= {LAB: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
COLOURS |= {32803: "camera's raw mosaic", 34892: "camera's linear raw", 51177: "depth map"}
FORMATS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex int", 6: "complex"}
LOSSLESS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate", 34925: "LZMA", 50000: "Zstandard"}
"""Compressions of pixels of any type."""
PICTURES = {2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", 7: "JPEG"}
"""Compressions of pictures of 8 bits or fewer."""
REFUSED = dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000") | dict.fromkeys((22610, 34934), "JPEG XR")
REFUSED |= {6: "old-style JPEG", 32809: "ThunderScan", 34676: "SGILog", 34677: "SGILog", 34887: "LERC"}
REFUSED |= {34892: "lossy JPEG of a camera", 34933: "PNG", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}
"""Names of compressions that are not read."""
PILLOW_NAMES = {("uint", 16): "I;16", ("int", 16): "I", ("uint", 32): "I", ("int", 32): "I", ("float", 32): "F"}
"""Grey pixel types that Pillow has names for."""


@dataclass(frozen=True)
class Page:
    """One directory of a TIFF.

    Attributes:
        data: image file.
        order: byte order, "<" or ">".
        entries: type, number of values, and their place in the file, by tag.
        index: number of the page in the file, from 0.
    """

    data: bytes
    order: str
    entries: Mapping[int, tuple[int, int, int]]
    index: int

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> NDArray[Any]:
        """Returns the values of an entry.

        Args:
            tag: tag of the entry.
            default: values if the page has no such entry.

        Raises:
            Refused: the entry is damaged.
        """
        if tag not in self.entries:
            return np.array(default)
        kind, count, place = self.entries[tag]
        if kind not in TYPES or count > MAX_NUMBERS:
            raise damaged("TIFF", f"its tag {tag} has {count} values of type {kind}")
        try:
            return np.frombuffer(self.data, self.order + TYPES[kind], count * (1 + (kind in PAIRS)), place)
        except (ValueError, OverflowError):
            raise damaged("TIFF", f"its tag {tag} lies beyond its end") from None

    def number(self, tag: int, default: int) -> int:
        """Returns the first value of an entry; `default` if there is none."""
        found = self.numbers(tag, (default,))
        return int(found[0]) if found.size else default

    @property
    def width(self) -> int:
        """Width before the image is turned upright, px."""
        return self.number(Tag.WIDTH, 0)

    @property
    def height(self) -> int:
        """Height before the image is turned upright, px."""
        return self.number(Tag.LENGTH, 0)

    @property
    def samples(self) -> int:
        """Number of values of a pixel."""
        return self.number(Tag.SAMPLES, 1)

    @property
    def bits(self) -> int:
        """Bits of a value; pages whose values differ in bits are refused before."""
        return self.number(Tag.BITS, 1)

    @property
    def format(self) -> str:
        """Type of the values: uint, int, float, complex int, complex or unknown."""
        return FORMATS.get(self.number(Tag.FORMAT, 1), "unknown")

    @property
    def photometric(self) -> int:
        """Kind of the colours; a key of COLOURS, if it is known."""
        return self.number(Tag.PHOTOMETRIC, WHITE_IS_ZERO if self.bits <= 8 else GREY)

    @property
    def compression(self) -> int:
        """Kind of the compression; a key of LOSSLESS, PICTURES or REFUSED, if it is known."""
        return self.number(Tag.COMPRESSION, 1)

    @property
    def planar(self) -> bool:
        """True if each channel is stored on its own."""
        return self.samples > 1 and self.number(Tag.PLANAR, 1) == 2

    @property
    def extra(self) -> tuple[int, ...]:
        """Kinds of the values behind the colours: 1 is alpha that colours are multiplied by, 2 alpha, others none."""
        return tuple(int(value) for value in self.numbers(Tag.EXTRA))

    @property
    def colours(self) -> int:
        """Number of values of a pixel that are colour."""
        return {RGB: 3, CMYK: 4, YCBCR: 3, LAB: 3}.get(self.photometric, 1)

    @property
    def nodata(self) -> float | None:
        """Level that means no value, from GDAL's tag; None if there is none."""
        text = self.numbers(Tag.GDAL_NODATA)[:64].astype(np.uint8).tobytes().split(b"\0")[0]
        try:
            return float(text.decode("ascii").replace(",", ".")) if text.strip() else None
        except ValueError:
            return None

    @property
    def tile(self) -> tuple[int, int] | None:
        """Width and height of a tile, px; None if the page is stored in strips."""
        if Tag.TILE_WIDTH not in self.entries:
            return None
        return self.number(Tag.TILE_WIDTH, 0), self.number(Tag.TILE_LENGTH, 0)

    @property
    def segments(self) -> tuple[Tag, Tag]:
        """Tags of the places and of the lengths of the page's strips or tiles."""
        return (Tag.TILE_OFFSETS, Tag.TILE_COUNTS) if self.tile else (Tag.STRIP_OFFSETS, Tag.STRIP_COUNTS)

    @property
    def reduced(self) -> bool:
        """True if the page is a smaller copy or a mask of another page."""
        return bool(self.number(Tag.SUBFILE_TYPE, 0) & 0b101) or self.number(Tag.OLD_SUBFILE_TYPE, 1) == 2

    @property
    def mode(self) -> str:
        """Pillow's name of the pixel type, or a name made as Pillow's are."""
        if self.colours == self.samples == 1 and (self.format, self.bits) in PILLOW_NAMES:
            name = PILLOW_NAMES[self.format, self.bits]
            return name + "B" if name == "I;16" and self.order == ">" else name
        name = {RGB: "RGB", CMYK: "CMYK"}.get(self.photometric, "L") + ("A" if self.extra[:1] in ((1,), (2,)) else "")
        sort = {"int": "S", "float": "F"}.get(self.format, "")
        return name if (self.format, self.bits) == ("uint", 8) else f"{name};{self.bits}{sort}"

    @property
    def a_picture(self) -> bool:
        """True if Pillow reads the pixel type: 8 bits or fewer, without a sign, in the usual colours."""
        if self.format != "uint" or self.bits not in (1, 2, 4, 8):
            return False
        more = self.samples - self.colours
        match self.photometric:
            case 1 if more == 1:
                return self.bits == 8 and self.extra == (2,) and not self.planar
            case 0 | 1 | 3:
                return more == 0
            case 2 | 5 if more:
                # Uncompressed channels that lie apart: Pillow knows only those that it makes pictures of.
                apart = self.planar and self.compression == 1 and self.extra not in ((), (2,))
                return self.bits == 8 and more <= 3 and not any(self.extra[1:]) and not apart
            case 2 | 5 | 6 | 8:
                return self.bits == 8 and more == 0 and not (self.photometric == LAB and self.planar)
            case _:
                return False

    def __str__(self) -> str:
        white = " (0 is white)" if self.photometric == WHITE_IS_ZERO else ""
        colour = COLOURS.get(self.photometric, f"colours of kind {self.photometric}")
        return f"{self.samples} × {self.format}{self.bits} {colour}{white}"


def image_page(data: bytes) -> Page:
    """Returns the page that is a TIFF's image: the one that is no smaller copy or mask of another.

    Args:
        data: image file.

    Raises:
        Refused: the file is damaged, has several images, or has pixels of a kind that is not read.
    """
    pages = list(_pages(data))
    images = [page for page in pages if not page.reduced]
    if not images and any(Tag.SUB_IFDS in page.entries for page in pages):
        raise unsupported(
            "the TIFF's pages are smaller copies of an image that lies in a directory below them, as in raw files of "
            "cameras: develop it to a TIFF of 16 bits"
        )
    images = images or pages
    if len(images) > 1:
        raise Refused("multiple_pages", f"the TIFF has {len(images)} pages or frames: send one image at a time")
    _check(images[0])
    return images[0]


def _pages(data: bytes) -> Iterator[Page]:
    """Yields the pages, directory by directory; each names the place of the next.

    Raises:
        Refused: a directory is damaged, there is none, or there are too many parts.
    """
    order, big = ORDERS[data[:4]]
    size, entry = struct.Struct(order + ("Q" if big else "H")), struct.Struct(order + ("HHQQ" if big else "HHII"))
    link = struct.Struct(order + ("Q" if big else "I"))
    left, index = MAX_PARTS, 0
    try:
        (place,) = link.unpack_from(data, 8 if big else 4)
        while place:
            (count,) = size.unpack_from(data, place)
            first, end = place + size.size, place + size.size + count * entry.size
            left -= 1 + count
            if left < 0:
                raise bomb("TIFF", "it has too many parts")
            entries = {}
            for start in range(first, end, entry.size):
                tag, kind, values, where = entry.unpack_from(data, start)
                width = np.dtype(TYPES.get(kind, "u1")).itemsize * (1 + (kind in PAIRS))
                here = start + entry.size - link.size
                entries[tag] = kind, values, here if values * width <= link.size else where
            yield Page(data, order, entries, index)
            (place,) = link.unpack_from(data, end)
            index += 1
    except (struct.error, OverflowError):  # OverflowError: a BigTIFF's places have 64 bits
        raise damaged("TIFF", "a directory lies beyond its end") from None
    if not index:
        raise damaged("TIFF", "it has no page")


def _check(page: Page) -> None:
    """Refuses a page that is not read, as far as the directory tells."""
    if page.width < 1 or page.height < 1 or page.samples < 1:
        raise damaged("TIFF", f"it is {page.width} × {page.height} px of {page.samples} values")
    bits, formats = page.numbers(Tag.BITS), page.numbers(Tag.FORMAT, (1,))
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        first = zip(bits[:8], np.resize(formats, 8), strict=False)
        types = ", ".join(f"{FORMATS.get(int(kind), 'unknown')}{size}" for size, kind in first)
        raise unsupported(
            f"the TIFF's channels are of different pixel types ({types}): save them all with the same one"
        )
    if page.number(Tag.DEPTH, 1) > 1:
        raise Refused("multiple_pages", f"the TIFF is a volume of {page.number(Tag.DEPTH, 1)} slices: send one slice")
    pictures = page.a_picture and page.photometric != LAB
    if page.compression not in (LOSSLESS | PICTURES if pictures else LOSSLESS):
        known = LOSSLESS | PICTURES | REFUSED
        name = known.get(page.compression, f"of kind {page.compression}")
        raise unsupported(f"compression {name} of {page} pixels is not read in a TIFF: save it with Deflate or LZW")
    if (page.numbers(page.segments[0]) == 0).any():
        raise unsupported("the TIFF leaves strips or tiles out (GDAL's SPARSE_OK): save it whole")
    if not page.a_picture:
        _check_levels(page)


def _check_levels(page: Page) -> None:
    """Refuses pixel types that neither Pillow nor `levels` reads."""
    if "complex" in page.format:
        raise unsupported(f"the TIFF's pixels are complex numbers ({page}): save their magnitude as float32")
    if page.photometric not in (WHITE_IS_ZERO, GREY, RGB, CMYK):
        raise unsupported(f"the TIFF's pixels ({page}) are not read: convert it to 8- or 16-bit RGB or grey")
    more = page.samples - page.colours
    if more < 0 or more > 3 or (page.colours == 1 and (more > 1 or (more and page.extra[:1] not in ((1,), (2,))))):
        raise unsupported(
            f"the TIFF has {page.samples} bands ({page}), and which of them show the grains is not known: save one of "
            "them as grey, or three as RGB (`gdal_translate -b 3 -b 2 -b 1 -co PHOTOMETRIC=RGB in.tif out.tif`)"
        )
    bits = {"uint": (*range(1, 17), 32, 64), "int": (8, 16, 32, 64), "float": (16, 32, 64)}.get(page.format, ())
    if page.bits not in bits or (page.photometric == CMYK and (page.format, page.bits) != ("uint", 16)):
        raise unsupported(f"the TIFF's pixels ({page}) are not read: convert it to uint8, uint16 or float32")
    if page.photometric == CMYK and page.number(Tag.INK_SET, 1) != 1:
        raise unsupported("the TIFF's inks are not those of CMYK: convert it to RGB")
    predictors = {1} | ({2} if page.bits in (8, 16, 32, 64) else set()) | ({3} if page.format == "float" else set())
    if page.number(Tag.PREDICTOR, 1) not in predictors:
        raise unsupported(f"predictor {page.number(Tag.PREDICTOR, 1)} of {page} pixels is not read: save it without")
    wide, high = page.tile or (16, 16)
    if wide % 16 or not 0 < wide <= page.width + TILE_MARGIN or not 0 < high <= page.height + TILE_MARGIN:
        raise unsupported(
            f"the TIFF's tiles are of {wide} × {high} px, far more than it has or none: save it in strips"
        )
