"""The scale that a file's metadata says."""

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
"""What reading a damaged tag raises, which is of another type or length than it is read as."""


def file_scale(data: bytes, path: Path | None = None) -> Scale | None:
    """Reads the scale in an image file, or in the text file that a microscope wrote beside it.

    Looked at in this order, and the first that says something is taken: OME-XML, ImageJ, the tags of Zeiss, Thermo
    Fisher (FEI), Olympus, MetaMorph and Aperio, GeoTIFF, JEOL's and Hitachi's text files, the resolution of TIFF, PNG
    or JPEG.

    Args:
        data: the image file.
        path: where it lies, if it is a file; the text file is looked for there.

    Returns:
        The scale of the pixels of the page that is the image; None where the file says none.

    Raises:
        ScaleConflict: its pixels are not square, or what it says is of a picture of another size.
        ScaleError: the size it says is no number above 0, or in a unit that is not known.
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
    # Whether it is an image at all, the handler says.
    except (tifffile.TiffFileError, *DAMAGED):
        return


def _size(data: bytes) -> Size | None:
    """Width and height of the image; None where they cannot be read."""
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
