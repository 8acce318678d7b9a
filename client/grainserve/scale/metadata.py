"""Reads the scale in a file's metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from grainserve.errors import ScaleError
from grainserve.reading.picture import BROKEN
from grainserve.scale import geotiff, tiff
from grainserve.scale.pixel_size import PixelSize, Size
from grainserve.scale.resolution import is_tiff, resolution
from grainserve.scale.sidecar import sidecar_size
from grainserve.scale.tiff_page import image_page
from grainserve.scale.units import Scale

DAMAGED = (*BROKEN, ElementTree.ParseError, LookupError, AttributeError, ArithmeticError)
"""Errors that reading a damaged tag raises: its value has another type or length than the reader expects."""


def file_scale(data: bytes, path: Path | None = None) -> Scale | None:
    """Reads the scale in an image file, or in the text file that a microscope wrote beside it.

    Takes the first source that gives a scale, in this order: OME-XML, ImageJ, the tags of Zeiss, Thermo Fisher (FEI),
    Olympus, MetaMorph and Aperio, GeoTIFF, JEOL's and Hitachi's text files, the resolution of TIFF, PNG or JPEG.

    Args:
        data: bytes of the image file.
        path: path of the image file; the text file must lie beside it. None reads no text file.

    Returns:
        Scale of the page that is measured; None where the file gives none.

    Raises:
        ScaleConflict: pixels are not square, or the scale is of a picture of another size.
        ScaleError: the pixel size is no number above 0, or in an unknown unit.
    """
    for found in _said(data, path):
        return found.scale(_size(data))
    return None


def _said(data: bytes, path: Path | None) -> Iterator[PixelSize]:
    if is_tiff(data):
        yield from _of_tiff(data)
    if path is not None and (found := sidecar_size(path)):
        yield found
    if found := resolution(data):
        yield found


def _of_tiff(data: bytes) -> Iterator[PixelSize]:
    import tifffile  # noqa: PLC0415

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for source, read in tiff.READERS.items():
                if found := read(source, file):
                    yield found
            if found := geotiff.ground_size(file):
                yield found
    except ScaleError:
        raise
    # The handler refuses a file that is no image.
    except (tifffile.TiffFileError, *DAMAGED):
        return


def _size(data: bytes) -> Size | None:
    """Reads width and height of the image, px; None where the file cannot be read."""
    import tifffile  # noqa: PLC0415

    try:
        if is_tiff(data):
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = image_page(file)
                return page.imagewidth, page.imagelength
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (tifffile.TiffFileError, Image.DecompressionBombError, *DAMAGED):
        return None
