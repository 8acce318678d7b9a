"""The scale that a file's metadata says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from PIL import Image, UnidentifiedImageError

from grainserve.errors import ScaleConflict
from grainserve.scale.units import Scale, lengths_um, unit_um

if TYPE_CHECKING:
    from tifffile import TiffFile

PRINTED_UM = 10.0
"""A resolution in px per inch or cm whose pixels are this large or larger (2540 dpi and less) is one for printing or
of a screen: programs write 72, 96, 300 or 600 dpi into every file. Microscopes that use these tags write finer ones."""

UNEQUAL = 0.005
"""Pixels whose sides differ by more than this share are not square."""

Side = tuple[float, float]


def file_scale(data: bytes, path: Path | None = None) -> Scale | None:
    """Reads the scale in an image file, or in the text file that a microscope wrote beside it.

    Looked at in this order, and the first that says something is taken: OME-XML, ImageJ, the tags of Zeiss, Thermo
    Fisher (FEI), Olympus, MetaMorph and Aperio, JEOL's and Hitachi's text files, the resolution of TIFF, PNG or JPEG.

    Args:
        data: the image file.
        path: where it lies, if it is a file; the text file is looked for there.

    Returns:
        The scale of the pixels of the file's first page; None where the file says none.

    Raises:
        ScaleConflict: its pixels are not square.
        ScaleError: the size it says is no number above 0.
    """
    for source, (x, y) in _said(data, path):
        if min(x, y) > 0 and abs(x - y) > UNEQUAL * max(x, y):
            raise ScaleConflict(
                f"{source} says pixels of {x:g} × {y:g} µm, and grains are measured in square ones: resample the image "
                "to square pixels and give um_per_px (--um-per-px)"
            )
        return Scale(min(x, y), source)
    return None


def _said(data: bytes, path: Path | None) -> Iterator[tuple[str, Side]]:
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        yield from _of_tiff(data)
    if path is not None:
        yield from _beside(path)
    yield from _resolution(data)


def _of_tiff(data: bytes) -> Iterator[tuple[str, Side]]:
    import tifffile  # noqa: PLC0415

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            for source, read in _TIFF.items():
                side = read(tiff)
                if side is not None:
                    yield source, side
    # A damaged tag is of another type or length than it is read as. Whether it is an image at all, the handler says.
    except (tifffile.TiffFileError, ElementTree.ParseError, LookupError, TypeError, ValueError, AttributeError):
        return


def _ome(tiff: TiffFile) -> Side | None:
    xml = tiff.ome_metadata
    pixels = None if xml is None else ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    x = _in_um(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    y = _in_um(pixels.get("PhysicalSizeY"), pixels.get("PhysicalSizeYUnit", "µm"))
    return _square_if_alone(x, y)


def _imagej(tiff: TiffFile) -> Side | None:
    said = tiff.imagej_metadata or {}
    um = unit_um(str(said.get("unit", "")).replace("\\u00B5", "µ"))
    tags = tiff.pages.first.tags
    if um is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    density = [_ratio(tags[name].value) for name in ("XResolution", "YResolution")]
    if 0 in density:
        return None
    x, y = um / density[0], um / density[1]
    # ImageJ keeps the dpi of what it opened as a scale in inches.
    return None if um == unit_um("inch") and x >= PRINTED_UM else (x, y)


def _zeiss(tiff: TiffFile) -> Side | None:
    said = tiff.sem_metadata or {}
    value = said.get("ap_image_pixel_size") or said.get("ap_pixel_size")
    x = _in_um(value[1], value[2]) if value and len(value) > 2 else None
    return _square_if_alone(x, None)


def _fei(tiff: TiffFile) -> Side | None:
    said = tiff.fei_metadata or {}
    for part in ("Scan", "EScan", "IScan"):
        values = said.get(part, {})
        if values.get("PixelWidth"):
            return _square_if_alone(_in_um(values["PixelWidth"], "m"), _in_um(values.get("PixelHeight"), "m"))
    return None


def _zeiss_lsm(tiff: TiffFile) -> Side | None:
    return _metres(tiff.lsm_metadata, "VoxelSizeX", "VoxelSizeY")


def _olympus(tiff: TiffFile) -> Side | None:
    return _metres(tiff.sis_metadata, "pixelsizex", "pixelsizey")


def _metamorph(tiff: TiffFile) -> Side | None:
    said = (tiff.metaseries_metadata or {}).get("PlaneInfo", {})
    unit = str(said.get("spatial-calibration-units", ""))
    x, y = (_in_um(said.get(f"spatial-calibration-{axis}"), unit) for axis in "xy")
    return _square_if_alone(x, y)


def _aperio(tiff: TiffFile) -> Side | None:
    first = tiff.pages.first
    found = re.search(r"\|MPP = ([\d.]+)", first.description) if first.is_svs else None
    return _square_if_alone(_in_um(found[1], "µm") if found else None, None)


_TIFF: Mapping[str, Callable[[TiffFile], Side | None]] = {
    "OME-XML PhysicalSizeX": _ome,
    "ImageJ description": _imagej,
    "Zeiss SEM tag 34118": _zeiss,
    "Thermo Fisher (FEI) SEM tag": _fei,
    "Zeiss LSM tag 34412": _zeiss_lsm,
    "Olympus SIS tag 33560": _olympus,
    "MetaMorph description": _metamorph,
    "Aperio description": _aperio,
}


def _beside(image: Path) -> Iterator[tuple[str, Side]]:
    """JEOL's and Hitachi's text file of the same name, of which both write one for each image."""
    for path in (image.with_suffix(".txt"), image.with_suffix(".TXT")):
        if path.is_file():
            text = path.read_bytes()[:65536].decode("latin-1")
            bar, marker = (
                re.search(r"^\$\$SM_MICRON_BAR (\d+)", text, re.MULTILINE),
                re.search(r"^\$\$SM_MICRON_MARKER (.+)", text, re.MULTILINE),
            )
            lengths = lengths_um(marker[1]) if marker else []
            if bar and int(bar[1]) and len(lengths) == 1:
                yield f"JEOL {path.name}", (lengths[0] / int(bar[1]),) * 2
            size = re.search(r"^PixelSize=([\d.]+)", text, re.MULTILINE)
            nm = _in_um(size[1], "nm") if size and "[SemImageFile]" in text else None
            if nm:
                yield f"Hitachi {path.name}", (nm, nm)
            return


def _resolution(data: bytes) -> Iterator[tuple[str, Side]]:
    density = printed_density(data)
    if density is not None and min(density[1]) > 0:
        x, y = (25_400.0 / float(dpi) for dpi in density[1])
        if x < PRINTED_UM:
            yield f"{density[0]} resolution tags", (x, y)


def printed_density(data: bytes) -> tuple[str, Side] | None:
    """Kind of file and its pixels per inch, across and down, where it says any."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            dpi = opened.info.get("dpi")
            return None if dpi is None else (str(opened.format), (float(dpi[0]), float(dpi[1])))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _metres(said: Mapping[str, Any] | None, x: str, y: str) -> Side | None:
    values = said or {}
    return _square_if_alone(_in_um(values.get(x), "m"), _in_um(values.get(y), "m"))


def _square_if_alone(x: float | None, y: float | None) -> Side | None:
    """Some say only one side of their pixels, which are square then."""
    return None if x is None else (x, x if y is None else y)


def _in_um(value: object, unit: str) -> float | None:
    um = unit_um(unit)
    try:
        return None if um is None or value is None else float(str(value)) * um
    except ValueError:
        return None


def _ratio(value: Any) -> float:
    """A TIFF rational."""
    above, below = value
    return float(above) / float(below) if below else 0.0
