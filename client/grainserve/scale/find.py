"""Finds the scale of an image, and says where it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, ScaleConflict, ScaleNotFound, ScaleNumberMissing
from grainserve.images import ImageFile, ImageSource
from grainserve.scale import bar_number as number
from grainserve.scale.bar import Bar, find_bars, scale_bar
from grainserve.scale.metadata import file_scale
from grainserve.scale.resolution import not_taken
from grainserve.scale.units import Scale, length_text

Mode = Literal["auto", "file"]


def find_scale(image: ImageSource, mode: Mode = "auto", bar_um: float | None = None) -> Scale:
    """Finds how large the pixels of an image are.

    Args:
        image: as `Client.submit` takes it; the scale is that of its own pixels, not of a smaller copy.
        mode: `file`: what its metadata says; `auto`: that, else its scale bar. Where there are both, they must agree.
        bar_um: length of the scale bar, µm; None: the number beside it, where an OCR engine is installed to read it.

    Raises:
        ScaleNotFound: neither says one.
        ScaleNumberMissing: there is a bar, but nothing says how long it is.
        ScaleConflict: several bars, numbers or sources disagree, the file's is of another size of picture, or pixels
            are not square.
        ScaleError: the file's is in a unit that is not known, or no number.
        InvalidOption: `bar_um` is no length, or mode is another.
        InvalidImage: the image cannot be read.
    """
    if mode not in ("auto", "file"):
        raise InvalidOption(f"scale is {mode!r}; it must be 'auto' or 'file'")
    if bar_um is not None and (mode != "auto" or not 0 < bar_um < float("inf")):
        raise InvalidOption(f"bar_um is {bar_um}; it must be a length in µm over 0, and scale 'auto'")
    read = ImageFile.of(image)
    data = read.data
    said = file_scale(data, read.path)
    if mode == "file":
        if said is None:
            raise ScaleNotFound(f"the file says no scale{_not_taken(data)}: give um_per_px (--um-per-px)")
        return said
    pixels = read.picture.pixels
    bars = find_bars(pixels)
    if said is not None:
        return _agreed(said, pixels, bars, bar_um)
    if not bars:
        raise ScaleNotFound(
            f"the file says no scale{_not_taken(data)}, and no scale bar was found in the picture: give um_per_px "
            "(--um-per-px)"
        )
    return _bar_scale(pixels, scale_bar(bars), bar_um, data)


def with_scale(
    image: ImageSource, options: Mapping[str, Any], mode: Mode | None, bar_um: float | None
) -> dict[str, Any]:
    """Completes the options of a request with the scale of its image, where one is to be found.

    Raises:
        InvalidOption: a scale is given as well, or a bar's length without `auto`.
        And as `find_scale`.
    """
    if mode is None:
        if bar_um is not None:
            raise InvalidOption("bar_um is for a scale bar that is to be found: give scale='auto' (--scale auto)")
        return dict(options)
    if options.get("um_per_px") is not None or options.get("scale_source") is not None:
        raise InvalidOption("um_per_px and scale_source are for a scale that is known: leave scale out, or leave them")
    found = find_scale(image, mode, bar_um)
    return {**options, "um_per_px": found.um_per_px, "scale_source": found.source}


def _agreed(said: Scale, pixels: NDArray[np.uint8], bars: Sequence[Bar], bar_um: float | None) -> Scale:
    """Takes the scale that the file says, unless a bar in the picture says otherwise, or may.

    A bar whose number nobody could read is an error: otherwise the same image would be measured by its file where
    there is no OCR engine, and be a conflict where there is one.
    """
    try:
        bar = scale_bar(bars)
    except (ScaleNotFound, ScaleConflict):
        if bar_um is not None:
            raise
        return said  # a bar was not asked for, and the file does without
    um = _read(pixels, bar) if bar_um is None else bar_um
    if um is None:
        by_file = length_text(bar.length * said.um_per_px)
        raise ScaleNumberMissing(
            f"the file says {said}, and there is a scale bar ({bar}) that would be {by_file} long by that, but the "
            f"number beside it {_unread()}: give the bar's length as bar_um (--bar-um 500), or take the file's scale "
            "by scale='file' (--scale file)"
        )
    shown = _of_bar(bar, um)
    if not said.agrees_with(shown):
        raise ScaleConflict(
            f"the file says {said}, its scale bar {shown}: was the image resized after the one or the other? Give the "
            "right one as um_per_px (--um-per-px)"
        )
    return said


def _bar_scale(pixels: NDArray[np.uint8], bar: Bar, bar_um: float | None, data: bytes) -> Scale:
    um = _read(pixels, bar) if bar_um is None else bar_um
    if um is None:
        raise ScaleNumberMissing(
            f"there is a scale bar ({bar}) but the number beside it {_unread()}{_not_taken(data)}: give the bar's "
            "length as bar_um (--bar-um 500), or um_per_px (--um-per-px)"
        )
    return _of_bar(bar, um)


def _read(pixels: NDArray[np.uint8], bar: Bar) -> float | None:
    return number.read_length(pixels, bar) if number.can_read() else None


def _unread() -> str:
    if number.can_read():
        return "could not be read"
    return "is not read: no OCR engine (Tesseract and grainserve[ocr]) is here"


def _of_bar(bar: Bar, um: float) -> Scale:
    divided = f" of {bar.segments} segments" if bar.segments > 1 else ""
    return Scale(
        um / bar.length, f"scale bar{divided}, {bar.length:.1f} px = {length_text(um)}".replace(".0 px", " px")
    )


def _not_taken(data: bytes) -> str:
    """Quotes the file's resolution, since somebody may hold it for a scale."""
    why = not_taken(data)
    return f" ({why})" if why else ""
