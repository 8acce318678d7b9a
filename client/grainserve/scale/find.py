"""Finds the scale of an image, and names its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption, ScaleConflict, ScaleNotFound, ScaleNumberMissing
from grainserve.images import ImageFile, ImageSource
from grainserve.scale import bar_number as number
from grainserve.scale.bar import Bar, find_bars, scale_bar
from grainserve.scale.error import bar_error
from grainserve.scale.metadata import file_scale
from grainserve.scale.resolution import not_taken
from grainserve.scale.units import Scale, length_text

Mode = Literal["auto", "file"]


def find_scale(image: ImageSource, mode: Mode = "auto", bar_um: float | None = None) -> Scale:
    """Finds how large the pixels of an image are.

    Args:
        image: image as `Client.submit` takes it; the scale is that of its own pixels, not of a smaller copy.
        mode: `file` takes the scale from the file's metadata; `auto` takes it from there, else from the scale bar.
            Where `auto` finds both, they must agree.
        bar_um: length of the scale bar, µm; None reads the number beside it, which needs an OCR engine.

    Raises:
        ScaleNotFound: neither the file nor a scale bar gives a scale.
        ScaleNumberMissing: there is a scale bar of unknown length.
        ScaleConflict: bars, numbers or sources disagree, the file's scale is of a picture of another size, or pixels
            are not square.
        ScaleError: the file's scale is no number, or in an unknown unit.
        InvalidOption: `bar_um` is no length, or the mode is unknown.
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
    """Adds the scale of an image to the options of its request.

    Args:
        image: image to search.
        options: options of the request.
        mode: `auto` or `file`, as in `find_scale`; None leaves the options as they are.
        bar_um: length of the scale bar, µm.

    Returns:
        Options with `um_per_px` and `scale_source`.

    Raises:
        InvalidOption: the options already have a scale, or `bar_um` is given without mode `auto`.
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
    """Returns the file's scale after comparing it with the scale bar in the picture.

    A bar whose number cannot be read is an error. Otherwise the same image would pass on a machine without an OCR
    engine, and be a conflict on a machine with one.
    """
    try:
        bar = scale_bar(bars)
    except (ScaleNotFound, ScaleConflict):
        if bar_um is not None:
            raise
        return said  # nobody asked for a bar, and the file has a scale
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
    apart = abs(shown.um_per_px / said.um_per_px - 1)
    # One of the two is wrong; the bar's ends alone do not say so.
    return said if apart <= bar_error(bar.length) else Scale(said.um_per_px, f"{said.source}, ± {apart:.1%} by its bar")


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
    """Says why the file's resolution is no scale, since a user may expect it to be one."""
    why = not_taken(data)
    return f" ({why})" if why else ""
