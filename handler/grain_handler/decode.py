"""Image bytes → RGB pixels, or the reason why not.

The header is read first and alone: an image over the limit is never decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from grain_handler.errors import (
    DecompressionBomb,
    EmptyBody,
    ImageTooLarge,
    MultiplePages,
    NotAnImage,
    TooManyBytes,
    TruncatedImage,
    UnsupportedFormat,
)

MAX_SIDE = 1024
MAX_BYTES = 24 * 1024 * 1024
"""More than any image of MAX_SIDE needs, 32-bit float RGBA included."""

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
MAX_SCANS = 256
"""Of a JPEG; cameras write up to 10. The decoder passes over the whole image for each, and a scan may have 12 bytes."""
MAX_READS = 50_000
"""Pillow's of a file: three or so for each of its parts. 24 MiB of empty parts would keep it busy for ten seconds."""
RUN_LENGTHS = (b"\1\0\0\0", b"\2\0\0\0")
"""The field of a BMP's header that says so."""
RUN_LENGTH_BYTES = 3 * 2**20
"""Two for each pixel of the largest image, and more. Pillow reads them in Python: 24 MiB take it seconds."""

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged files."""

WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class DecodedImage:
    """An image as SAM sees it, and as it was submitted.

    Attributes:
        pixels: H × W × 3, uint8, RGB, upright.
        format: PNG, JPEG, TIFF, BMP or WEBP.
        mode: Pillow's name of the submitted pixel type (RGB, L, I;16, …).
        bytes: Size submitted.
        warnings: What was changed on the way, for the answer's metadata.
    """

    pixels: NDArray[np.uint8]
    format: str
    mode: str
    bytes: int
    warnings: tuple[str, ...] = ()


def decode(data: bytes) -> DecodedImage:
    """Decodes one image; see `upright_rgb` for what is done to its pixels.

    Raises:
        RequestError: One of the errors imported above; its message says what to do.
    """
    if not data:
        raise EmptyBody("the body is empty: send the image's bytes")
    if len(data) > MAX_BYTES:
        raise TooManyBytes(f"the image has {len(data)} bytes, the limit is {MAX_BYTES}: send a compressed file")
    kind = _kind(data)
    try:
        if kind == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS:
            raise DecompressionBomb(f"the JPEG has more than {MAX_SCANS} scans: save it again as a usual JPEG")
        if kind == "BMP" and data[30:34] in RUN_LENGTHS and len(data) > RUN_LENGTH_BYTES:
            raise DecompressionBomb("the BMP's run lengths are longer than any image needs: save it as PNG")
        # A run-length encoded BMP is read by the byte, and has no parts.
        picture = Image.open(io.BytesIO(data) if kind == "BMP" else _Parts(data), formats=[kind])
    except Image.DecompressionBombError as error:
        raise DecompressionBomb(f"the {kind} header claims far more than {MAX_SIDE} × {MAX_SIDE} px: {error}") from None
    except UnidentifiedImageError:
        raise TruncatedImage(f"the file begins like a {kind} but its header cannot be read: send it again") from None
    except BROKEN as error:
        raise _broken(kind, error) from None
    with picture:
        width, height = picture.size
        if max(width, height) > MAX_SIDE:
            raise ImageTooLarge(
                f"the image is {width} × {height} px, the limit is {MAX_SIDE} px on the longer side: "
                "scale it down or cut it into tiles"
            )
        mode = picture.mode
        try:
            _refuse_pages(picture, kind)
            pixels, warnings = upright_rgb(picture)
        except Image.DecompressionBombError as error:
            raise DecompressionBomb(f"the {kind} unpacks to too much: {error}") from None
        except BROKEN as error:
            raise _broken(kind, error) from None
    return DecodedImage(pixels, kind, mode, len(data), warnings)


def upright_rgb(picture: Image.Image) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """A picture's pixels as SAM sees them, here and in training.

    Transparency is laid over white; EXIF orientation is applied; grey images of more than 8 bits are
    stretched from their own darkest to their own brightest pixel.

    Args:
        picture: Of any size and pixel type.

    Returns:
        H × W × 3, uint8, RGB, upright; and what was changed on the way, in words.

    Raises:
        UnsupportedFormat: Pixels are NaN or infinite.
        Exception: One of `BROKEN`, where the file behind the picture is damaged.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _stretch(np.asarray(upright))
    if upright.has_transparency_data:
        flat = upright.convert("RGBA")
        background = Image.new("RGBA", flat.size, WHITE)
        return np.asarray(Image.alpha_composite(background, flat).convert("RGB")), ()
    return np.asarray(upright.convert("RGB")), ()


class _Parts(io.BytesIO):
    """A file whose reader gives up when it has too many parts."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_READS

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise Image.DecompressionBombError("it has too many parts")  # an OSError Pillow may survive
        return super().read(size)


def _kind(data: bytes) -> str:
    """Names the format by the file's first bytes."""
    for magic, name in READ.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, name in NOT_READ.items():
        if data.startswith(magic):
            raise UnsupportedFormat(f"{name} is not read: send PNG, JPEG, TIFF, BMP or WebP")
    if data[4:8] == b"ftyp":
        raise UnsupportedFormat("HEIF, AVIF and video are not read: send PNG, JPEG, TIFF, BMP or WebP")
    raise NotAnImage("the body is not an image: send the bytes of a PNG, JPEG, TIFF, BMP or WebP file")


def _broken(kind: str, error: BaseException) -> TruncatedImage | DecompressionBomb:
    if "too large" in str(error).lower():  # Pillow's guard against compressed text chunks that explode
        return DecompressionBomb(f"the {kind} unpacks to too much: {error}")
    return TruncatedImage(f"the {kind} is damaged or cut short ({error}): send it again")


def _refuse_pages(picture: Image.Image, kind: str) -> None:
    """One image per request. A phone's MPO is a JPEG with previews behind it; its first frame is the image."""
    pages = getattr(picture, "n_frames", 1)
    if pages > 1 and picture.format != "MPO":
        raise MultiplePages(f"the {kind} has {pages} pages or frames: send one image at a time")


def _stretch(grey: NDArray[np.generic]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey levels of any depth (H × W) → RGB (H × W × 3, uint8), stretched to the image's own range."""
    levels = grey.astype(np.float64)
    if not np.isfinite(levels).all():
        raise UnsupportedFormat("the image has pixels that are NaN or infinite: replace them by numbers")
    low, high = float(levels.min()), float(levels.max())
    scaled = np.zeros(levels.shape) if high == low else (levels - low) / (high - low) * 255
    eight = np.rint(scaled).astype(np.uint8)
    warning = f"grey levels {low:g} to {high:g} were stretched to 0 to 255"
    return np.repeat(eight[..., None], 3, axis=2), (warning,)
