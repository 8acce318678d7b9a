"""TIFF files of every kind that tifffile and Pillow can write."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 40, 56
TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "grey": (1, {"photometric": "minisblack"}),
    "grey, 0 is white": (1, {"photometric": "miniswhite"}),
    "grey + alpha": (2, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    "grey × alpha": (2, {"photometric": "minisblack", "extrasamples": ["assocalpha"]}),
    "grey + a band": (2, {"photometric": "minisblack", "extrasamples": ["unspecified"]}),
    "RGB": (3, {"photometric": "rgb"}),
    "RGB + alpha": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "RGB × alpha": (4, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "RGB + a band": (4, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "CMYK": (4, {"photometric": "separated"}),
    "L*a*b*": (3, {"photometric": "cielab"}),
    "3 bands": (3, {"photometric": "minisblack"}),
    "5 bands": (5, {"photometric": "minisblack"}),
}
"""Values of a pixel, and tifffile's arguments for them."""
PACKINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "LZW": {"compression": "lzw"},
    "LZW, predictor": {"compression": "lzw", "predictor": True},
    "Deflate": {"compression": "zlib"},
    "Deflate, predictor": {"compression": "zlib", "predictor": True},
    "PackBits": {"compression": "packbits"},
    "Zstandard": {"compression": "zstd"},
    "LZMA": {"compression": "lzma"},
    "JPEG": {"compression": "jpeg"},
    "JPEG 2000": {"compression": "jpeg2000"},
    "JPEG XL": {"compression": "jpegxl"},
    "LERC": {"compression": "lerc"},
    "WebP": {"compression": "webp", "compressionargs": {"lossless": True}},
    "PNG": {"compression": "png"},
}
LOSSY = ("JPEG", "jpeg")
STRIPS, TILES = {"rowsperstrip": 7}, {"tile": (16, 32)}
FORMS: dict[str, dict[str, Any]] = {
    "II, strips": {"byteorder": "<", **STRIPS},
    "MM, tiles": {"byteorder": ">", **TILES},
    "BigTIFF MM, strips": {"byteorder": ">", "bigtiff": True, **STRIPS},
    "BigTIFF II, tiles": {"byteorder": "<", "bigtiff": True, **TILES},
}
NEVER_READ = ("JPEG 2000", "JPEG XL", "LERC", "WebP", "PNG")
"""Compressions that are refused by their name in the directory, so interleaved values are enough."""
IN_EVERY_FORM = ("none", "LZW, predictor", "JPEG")
"""Compressions that are written in every form; the others take turns among the forms."""
PILLOWS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma", "webp")
BILEVEL = ("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "packbits")


@dataclass(frozen=True)
class Kind:
    """A TIFF of one kind.

    Attributes:
        name: writer and its arguments.
        data: bytes of the file.
        lossy: whether readers may differ by a few levels.
    """

    name: str
    data: bytes
    lossy: bool = False


def pixels(samples: int, dtype: str, seed: int = 5) -> NDArray[Any]:
    """Makes different, asymmetric channels over a large part of their type's range; H × W × samples."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    channels = [0.5 + 0.4 * np.sin((3 + each) * x + (1 + 2 * each) * y * y) for each in range(samples)]
    unit = np.stack(channels, axis=-1) + np.random.default_rng(seed).normal(0, 0.01, (HEIGHT, WIDTH, samples))
    unit = unit.clip(0.02, 0.98)
    if np.dtype(dtype).kind == "f":
        return unit.astype(dtype)
    limits = np.iinfo(dtype)
    return (limits.min + unit * (float(limits.max) - limits.min)).astype(dtype)


def kinds(packings: Sequence[str] = tuple(PACKINGS)) -> Iterator[Kind]:
    """Yields all kinds, or those of some of tifffile's compressions; leaves out kinds that a writer refuses."""
    yield from _by_type(packings)
    yield from _by_bits()
    yield from _palettes()
    yield from _by_pillow()


def some() -> list[Kind]:
    """Yields a few dozen kinds as seeds for fuzzing; types, layouts, compressions and forms take turns."""
    packings, forms = (
        itertools.cycle(("none", "LZW", "Deflate, predictor", "PackBits", "LZW, predictor")),
        itertools.cycle(FORMS),
    )
    turns = list(itertools.product(TYPES, LAYOUTS, ("contig", "separate")))[::7]
    every = [_one(*turn, next(packings), next(forms)) for turn in turns]
    every += [kind for number, kind in enumerate(_by_bits()) if number % 25 == 0]
    return [kind for kind in every if kind is not None]


def _by_type(packings: Sequence[str]) -> Iterator[Kind]:
    forms = itertools.cycle(FORMS)
    for dtype, (layout, (samples, _)), packing in itertools.product(TYPES, LAYOUTS.items(), packings):
        for planes in ("contig", "separate") if samples > 1 and packing not in NEVER_READ else ("contig",):
            for form in FORMS if packing in IN_EVERY_FORM else (next(forms),):
                kind = _one(dtype, layout, planes, packing, form)
                if kind is not None:
                    yield kind


def _one(dtype: str, layout: str, planes: str, packing: str, form: str) -> Kind | None:
    samples, words = LAYOUTS[layout]
    array = pixels(samples, dtype)
    if layout == "L*a*b*" and dtype == "uint8":  # colours within sRGB; a* and b* have a sign
        array[..., 0] = 90 + array[..., 0] // 2
        array[..., 1:] = (array[..., 1:].astype(np.int8, casting="unsafe") // 6).view(np.uint8)
    shaped = array[..., 0] if samples == 1 else np.moveaxis(array, 2, 0) if planes == "separate" else array
    given = {**words, **PACKINGS[packing], **FORMS[form]} | ({"planarconfig": planes} if samples > 1 else {})
    data = written(shaped, **given)
    apart = ", planes apart" if planes == "separate" and samples > 1 else ""
    name = f"tifffile: {dtype} {layout}{apart}, {packing}, {form}"
    return None if data is None else Kind(name, data, packing in LOSSY)


def _by_bits() -> Iterator[Kind]:
    for bits, packing, order in itertools.product((*range(1, 8), *range(9, 16)), ("none", "LZW", "Deflate"), "<>"):
        for layout in ("grey", "grey, 0 is white", "RGB"):
            samples, words = LAYOUTS[layout]
            array = pixels(samples, "uint8" if bits < 8 else "uint16") >> ((8 if bits < 8 else 16) - bits)
            shaped = array[..., 0] if samples == 1 else array
            given = {**words, **PACKINGS[packing], "bitspersample": bits, "byteorder": order, "rowsperstrip": 7}
            data = written(shaped, **given)
            if data is not None:
                yield Kind(f"tifffile: {bits} bits {layout}, {packing}, {'II' if order == '<' else 'MM'}", data)


def _palettes() -> Iterator[Kind]:
    for dtype, packing, order, big in itertools.product(("uint8", "uint16"), PACKINGS, "<>", (False, True)):
        colours = np.random.default_rng(2).integers(0, 65536, (3, 256 if dtype == "uint8" else 65536), np.uint16)
        given = {"photometric": "palette", "colormap": colours, "byteorder": order, "bigtiff": big}
        data = written(pixels(1, dtype)[..., 0], **given, **PACKINGS[packing])
        if data is not None and packing != "JPEG":
            header = f"{'Big' if big else ''}TIFF {'II' if order == '<' else 'MM'}"
            yield Kind(f"tifffile: {dtype} palette, {packing}, {header}", data)


def _by_pillow() -> Iterator[Kind]:
    colour = Image.fromarray(pixels(3, "uint8"))
    pictures = {mode: colour.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")}
    pictures["RGBA"].putalpha(Image.fromarray(pixels(1, "uint8")[..., 0]))
    pictures["LA"].putalpha(Image.fromarray(pixels(1, "uint8")[..., 0]))
    pictures |= {
        "I;16": Image.fromarray(pixels(1, "uint16")[..., 0]),
        "F": Image.fromarray(pixels(1, "float32")[..., 0]),
    }
    pictures |= {"I": Image.fromarray(pixels(1, "int32")[..., 0])}
    for mode, picture in pictures.items():
        for packing, big in itertools.product(BILEVEL if mode == "1" else PILLOWS, (False, True)):
            file = io.BytesIO()
            try:
                picture.save(file, "TIFF", compression=packing, big_tiff=big)
            except (OSError, ValueError, KeyError, RuntimeError):
                continue
            name = f"Pillow: {mode}, {packing}, {'Big' if big else ''}TIFF"
            yield Kind(name, file.getvalue(), packing in ("jpeg", "webp"))


def written(array: NDArray[Any], **words: Any) -> bytes | None:
    """Writes a TIFF with tifffile; returns None if tifffile refuses."""
    file = io.BytesIO()
    try:
        tifffile.imwrite(file, array, metadata=None, **words)
    except Exception:  # noqa: BLE001 - each codec has errors of its own
        return None
    return file.getvalue()
