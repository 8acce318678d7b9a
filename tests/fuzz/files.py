"""Image files to start from: every kind that is read, in the forms that take different paths through the readers."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.tiff_kinds import some


def make_files() -> list[bytes]:
    """Makes small files, where damage hits something that matters, and one of each kind at the size limit."""
    pixels = np.random.default_rng(6).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    clear = Image.fromarray(np.dstack([pixels, pixels[..., 0]]))
    full = Image.fromarray(np.zeros((1024, 1024, 3), np.uint8))
    text = PngInfo()
    text.add_text("Comment", "grains")
    text.add_text("Software", "microscope " * 20, zip=True)
    text.add_itxt("Title", "sand", zip=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "microscope"
    described: dict[str, Any] = {"exif": exif, "icc_profile": b"profile" * 50}
    pages: dict[str, Any] = {"save_all": True, "append_images": [colour, colour]}

    return [
        _file(colour, "PNG"),
        _file(colour, "PNG", pnginfo=text, dpi=(300, 300), **described),
        _file(grey16, "PNG"),
        _png16(pixels),
        _file(clear, "PNG"),
        _file(colour.quantize(7), "PNG", transparency=3),
        _file(colour.convert("1"), "PNG"),
        _file(colour, "PNG", **pages),
        _file(full, "PNG"),
        _file(colour, "JPEG"),
        _file(colour, "JPEG", progressive=True, quality=95, subsampling=0, **described),
        _file(colour.convert("L"), "JPEG"),
        _file(colour.convert("CMYK"), "JPEG"),
        _file(colour, "MPO", **pages),
        _file(full, "JPEG", progressive=True),
        _file(colour, "TIFF", **described),
        *(_file(colour, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        _file(colour.convert("1"), "TIFF", compression="group4"),
        _file(colour, "TIFF", big_tiff=True),
        _file(grey16, "TIFF"),
        _file(Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF"),
        _file(colour.quantize(7), "TIFF"),
        _file(colour, "TIFF", **pages),
        _file(full, "TIFF", compression="tiff_lzw"),
        _file(colour, "BMP"),
        _file(colour.quantize(16), "BMP"),
        _run_lengths(colour.quantize(16)),
        _file(clear, "BMP"),
        _file(colour, "WEBP", **described),
        _file(clear, "WEBP", lossless=True),
        _file(colour, "WEBP", **pages),
        _file(full, "WEBP"),
        _file(colour, "GIF"),
        *(kind.data for kind in some()),
        _tiff([(np.asarray(grey16), 0)], [(42113, "s", 0, "0", True)]),
        _tiff([(pixels[::2, ::2], 1), (pixels, 0), (pixels[::4, ::4], 1)]),
    ]


def _file(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def _tiff(pages: list[tuple[NDArray[Any], int]], tags: list[tuple[Any, ...]] | None = None) -> bytes:
    """Makes a TIFF of pages, each with its NewSubfileType; the first has further tags."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, (page, subfile) in enumerate(pages):
            colour = "rgb" if page.ndim == 3 else "minisblack"
            more: dict[str, Any] = {} if number else {"extratags": tags or []}
            writer.write(page, subfiletype=subfile, photometric=colour, metadata=None, **more)
    return file.getvalue()


def _png16(pixels: NDArray[np.uint8]) -> bytes:
    """Makes a PNG of 16-bit colour, which Pillow does not write: rows of twice the length under a matching header."""
    grey = _file(Image.fromarray(np.repeat(pixels.reshape(len(pixels), -1), 2, axis=1)), "PNG", compress_level=0)
    header = b"IHDR" + struct.pack(">IIBB", pixels.shape[1], len(pixels), 16, 2) + grey[26:29]
    return grey[:12] + header + struct.pack(">I", zlib.crc32(header)) + grey[33:]


def _run_lengths(image: Image.Image) -> bytes:
    """Makes a run-length encoded BMP, which Pillow reads in Python and does not write."""
    plain = bytearray(_file(image, "BMP"))
    start = int.from_bytes(plain[10:14], "little")
    plain[30:34] = (1).to_bytes(4, "little")
    runs = b"".join(b"\x20" + bytes([row % 16]) + b"\0\0" for row in range(24))
    return bytes(plain[:start]) + runs + b"\0\1"
