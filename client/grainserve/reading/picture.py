"""An image file → its header, and its pixels as SAM sees them: the entry of this folder."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from grainserve.reading import levels, png, tiff
from grainserve.reading.refusal import Refused, bomb, damaged, unsupported
from grainserve.reading.stretch import eight_bits

READ = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
}
NOT_READ = {
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"ZISRAWFILE": "Zeiss CZI",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x89HDF": "HDF5",
    b"P5": "PGM",
    b"P6": "PPM",
}
WAYS = "send PNG, JPEG, TIFF, BMP or WebP"
DEEP_JPEG = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0[\x0b-\x17]([\x0c\x10])", re.DOTALL)
"""Frame header of a JPEG of 12 or 16 bits."""
MAX_READS = 50_000
"""Most reads of a file by Pillow, which needs three or so for each part of the file. 24 MiB of empty parts would keep
it busy for ten seconds."""
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Pillow's own limit: it refuses files with more pixels."""

WHITE = (255, 255, 255, 255)
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""Errors that Pillow's readers raise on damaged files."""


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        format: PNG, JPEG, TIFF, BMP or WEBP.
        content_type: media type, such as image/png.
        width: width before the image is turned upright, px.
        height: height before the image is turned upright, px.
        page: page of a TIFF that is the image; None for other formats.
    """

    format: str
    content_type: str
    width: int
    height: int
    page: tiff.Page | None = None


@dataclass(frozen=True)
class Picture:
    """An image as SAM sees it.

    Attributes:
        pixels: H × W × 3, uint8, RGB, upright.
        mode: Pillow's name of the file's pixel type (RGB, L, I;16, …), or one made as Pillow's are (RGB;16, L;64F).
        warnings: changes made by the reader, in words.
    """

    pixels: NDArray[np.uint8]
    mode: str
    warnings: tuple[str, ...]


def read_header(data: bytes, most_reads: int | None = MAX_READS) -> Header:
    """Reads a file's header, without unpacking pixels.

    Args:
        data: image file.
        most_reads: most reads by Pillow, after which the file is refused; None if its sender is trusted.

    Raises:
        Refused: the file is no image, is damaged, or is of a kind that is not read: another format or pixel type, or
            several images.
    """
    kind = _kind(data)
    if kind == "TIFF":
        page = tiff.image_page(data)
        if page.width * page.height > MAX_PIXELS:
            raise _too_large(kind)
        return Header(kind, "image/tiff", page.width, page.height, page)
    try:
        with _opened(data, kind, most_reads) as picture:
            pages = getattr(picture, "n_frames", 1)
            # A phone's MPO is a JPEG with previews behind it; its first frame is the image.
            if pages > 1 and picture.format != "MPO":
                raise Refused("multiple_pages", f"the {kind} has {pages} pages or frames: send one image at a time")
            return Header(kind, Image.MIME[str(picture.format)], *picture.size)
    except UnidentifiedImageError:
        if kind == "JPEG" and (found := DEEP_JPEG.search(data)):
            raise unsupported(f"a JPEG of {found[1][0]} bits is not read: save it as PNG or TIFF of 16 bits") from None
        raise Refused(
            "truncated_image", f"the file begins like a {kind} but its header cannot be read: send it again"
        ) from None
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise _fault(kind, error) from None


def read_picture(data: bytes, header: Header, most_reads: int | None = MAX_READS) -> Picture:
    """Reads a file's pixels.

    EXIF orientation is applied, and transparency is laid over white. Levels that are deeper than 8 bits, or have a
    sign, are stretched; see `eight_bits`.

    Args:
        data: image file.
        header: header of the file, from `read_header`.
        most_reads: most reads by Pillow, after which the file is refused; None if its sender is trusted.

    Raises:
        Refused: the file is damaged, or no pixel has a value.
    """

    def opened(file: bytes) -> ImageFile:
        return _opened(file, header.format, most_reads)

    page = header.page
    try:
        if page is not None and not page.a_picture:
            pixels, warnings = eight_bits(levels.read_levels(page))
            return Picture(pixels, page.mode, warnings)
        if header.format == "PNG" and png.is_deep(data):
            pixels, warnings = eight_bits(png.read_levels(data, opened))
            return Picture(pixels, png.mode(data), warnings)
        # Pillow reads the first page only, and does not know big-endian BigTIFF.
        as_it_is = page is None or (page.index == 0 and data[:4] != b"MM\0+")
        with opened(data if page is None or as_it_is else levels.alone(page)) as picture:
            return Picture(upright_rgb(picture), picture.mode, ())
    except (Image.DecompressionBombError, UnidentifiedImageError, *BROKEN) as error:
        raise _fault(header.format, error) from None


def upright_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """Returns the pixels of a picture of 8 bits, H × W × 3, RGB: EXIF orientation applied, transparency over white."""
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        flat = upright.convert("RGBA")
        background = Image.new("RGBA", flat.size, WHITE)
        return np.asarray(Image.alpha_composite(background, flat).convert("RGB"))
    return np.asarray(upright.convert("RGB"))


def _opened(data: bytes, kind: str, most_reads: int | None) -> ImageFile:
    # A BMP has no parts, and Pillow reads run lengths byte by byte.
    limited = most_reads is not None and kind != "BMP"
    return Image.open(_Parts(data, most_reads or 0) if limited else io.BytesIO(data), formats=[kind])


class _TooManyParts(Image.DecompressionBombError):
    """A file has too many parts. This is no OSError, since Pillow may catch one and go on."""


class _Parts(io.BytesIO):
    """A file that ends its reader after too many reads."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._left = most

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _TooManyParts("it has too many parts")
        return super().read(size)


def _kind(data: bytes) -> str:
    """Names the format by the file's first bytes.

    Raises:
        Refused: the format is not read.
    """
    for magic, name in READ.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, name in NOT_READ.items():
        if data.startswith(magic):
            raise unsupported(f"{name} is not read: {WAYS}")
    if data[4:8] == b"ftyp":
        raise unsupported(f"HEIF, AVIF and video are not read: {WAYS}")
    raise Refused("not_an_image", f"this is not an image that is read: {WAYS}")


def _too_large(kind: str) -> Refused:
    return bomb(kind, f"its header claims more than {MAX_PIXELS // 10**6 + 1} megapixels")


def _fault(kind: str, error: BaseException) -> Refused:
    """Translates a reader's error into a refusal."""
    said = str(error)
    if isinstance(error, _TooManyParts):
        return bomb(kind, said)
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(kind)
    if "too large" in said.lower():  # Pillow's guard against compressed text chunks that explode
        return bomb(kind, said)
    if "unsupported" in said.lower():
        return unsupported(f"{kind}s of this kind are not read ({said}): save it as PNG")
    return damaged(kind, said)
