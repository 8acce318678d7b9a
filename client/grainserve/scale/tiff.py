"""Reads the scales that programs and microscopes write into a TIFF's tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from grainserve.scale.pixel_size import PixelSize, Size, pixel_size
from grainserve.scale.resolution import is_scanned
from grainserve.scale.units import size_um, unit_um

if TYPE_CHECKING:
    from tifffile import TiffFile


def _ome(source: str, tiff: TiffFile) -> PixelSize | None:
    xml = tiff.ome_metadata
    pixels = None if xml is None else ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None
    x, y = (
        size_um(source, pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"
    )
    return pixel_size(source, x, y, _size(pixels.get("SizeX"), pixels.get("SizeY")))


def _imagej(source: str, tiff: TiffFile) -> PixelSize | None:
    written = tiff.imagej_metadata or {}
    unit = str(written.get("unit", ""))
    tags = tiff.pages.first.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    density = [_ratio(tags[name].value) for name in ("XResolution", "YResolution")]
    if 0 in density:
        return None
    x = size_um(source, 1 / density[0], unit)
    y = size_um(source, 1 / density[1], str(written.get("yunit", unit)))
    # ImageJ keeps the dpi of the file it opened as a scale in inches.
    if x is not None and unit_um(unit) == unit_um("inch") and is_scanned(x):
        return None
    return pixel_size(source, x, y)


def _zeiss(source: str, tiff: TiffFile) -> PixelSize | None:
    written = tiff.sem_metadata or {}
    value = written.get("ap_image_pixel_size") or written.get("ap_pixel_size")
    store = re.fullmatch(r"(\d+) \* (\d+)", str((written.get("dp_image_store") or ("", ""))[1]))
    x = size_um(source, " ".join(map(str, value[1:]))) if value else None
    return pixel_size(source, x, size=_size(*store.groups()) if store else None, panel=True)


def _fei(source: str, tiff: TiffFile) -> PixelSize | None:
    written = tiff.fei_metadata or {}
    image = written.get("Image", {})
    size = _size(image.get("ResolutionX"), image.get("ResolutionY"))
    for part in ("Scan", "EScan", "IScan"):
        values = written.get(part, {})
        if values.get("PixelWidth"):
            x, y = (size_um(source, values.get(f"Pixel{side}"), "m") for side in ("Width", "Height"))
            return pixel_size(source, x, y, size, panel=True)
    return None


def _zeiss_lsm(source: str, tiff: TiffFile) -> PixelSize | None:
    written = tiff.lsm_metadata or {}
    x, y = (size_um(source, written.get(f"VoxelSize{axis}"), "m") for axis in "XY")
    return pixel_size(source, x, y, _size(written.get("DimensionX"), written.get("DimensionY")))


def _olympus(source: str, tiff: TiffFile) -> PixelSize | None:
    written = tiff.sis_metadata or {}
    x, y = (size_um(source, written.get(f"pixelsize{axis}"), "m") for axis in "xy")
    return pixel_size(source, x, y)


def _metamorph(source: str, tiff: TiffFile) -> PixelSize | None:
    written = (tiff.metaseries_metadata or {}).get("PlaneInfo", {})
    if written.get("spatial-calibration-state") in (False, "off"):
        return None
    unit = str(written.get("spatial-calibration-units", ""))
    x, y = (size_um(source, written.get(f"spatial-calibration-{axis}"), unit) for axis in "xy")
    return pixel_size(source, x, y, _size(written.get("pixel-size-x"), written.get("pixel-size-y")))


def _aperio(source: str, tiff: TiffFile) -> PixelSize | None:
    first = tiff.pages.first
    found = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", first.description) if first.is_svs else None
    if found is None:
        return None
    # The scanned size comes first, then the size of the part that was kept, then that of this level.
    sizes = [(int(width), int(height)) for width, height in re.findall(r"(\d+)x(\d+)", first.description)]
    known = (first.imagewidth, first.imagelength)
    return pixel_size(source, size_um(source, found[1], "µm"), size=known if known in sizes or not sizes else sizes[0])


READERS: Mapping[str, Callable[[str, TiffFile], PixelSize | None]] = {
    "OME-XML PhysicalSizeX": _ome,
    "ImageJ description": _imagej,
    "Zeiss SEM tag 34118": _zeiss,
    "Thermo Fisher (FEI) SEM tag": _fei,
    "Zeiss LSM tag 34412": _zeiss_lsm,
    "Olympus SIS tag 33560": _olympus,
    "MetaMorph description": _metamorph,
    "Aperio description": _aperio,
}
"""Name of a source → its reader; sources in front win."""


def _size(width: Any, height: Any) -> Size | None:
    return (int(width), int(height)) if width and height else None


def _ratio(value: Any) -> float:
    """Returns a TIFF rational as a number; 0 where its denominator is 0."""
    above, below = value
    return float(above) / float(below) if below else 0.0
