"""Reads the size of a GeoTIFF's pixels on the ground."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from grainserve.errors import ScaleError
from grainserve.scale.pixel_size import PixelSize
from grainserve.scale.tiff_page import image_page

if TYPE_CHECKING:
    from tifffile import TiffFile

SOURCE = "GeoTIFF ModelPixelScale"

PROJECTED = 1
USER_DEFINED = 32_767

METRES = {
    1025: 1e-3,
    1033: 1e-2,
    9001: 1.0,
    9002: 0.3048,
    9003: 1200 / 3937,
    9036: 1e3,
    9093: 1609.344,
    9096: 0.9144,
}
"""EPSG code of a unit of length → metres.

In order: millimetre, centimetre, metre, foot, US survey foot, kilometre, mile, yard.
"""

IN_METRES = (
    range(2056, 2057),  # Switzerland, LV95
    range(2154, 2155),  # France, Lambert-93
    range(3034, 3036),  # Europe, LCC and LAEA
    range(5513, 5515),  # Czechia, Krovak
    range(21_781, 21_782),  # Switzerland, LV03
    range(23_028, 23_039),  # ED50 UTM
    range(25_828, 25_839),  # ETRS89 UTM
    range(26_901, 26_924),  # NAD83 UTM
    range(27_700, 27_701),  # Great Britain
    range(28_348, 28_359),  # GDA94 MGA
    range(28_992, 28_993),  # Netherlands
    range(31_254, 31_260),  # Austria
    range(31_466, 31_470),  # Germany, Gauss-Krüger
    range(32_601, 32_661),  # WGS 84 UTM, north
    range(32_701, 32_761),  # WGS 84 UTM, south
)
"""EPSG codes of coordinate systems in metres, for files that name a code but no unit. Other systems may be in feet."""

WEB_MERCATOR = (3857, 3785, 900_913)
"""EPSG codes of Web Mercator, whose metres are metres on the ground at the equator only."""


def ground_size(tiff: TiffFile) -> PixelSize | None:
    """Reads the pixel size of a GeoTIFF from its pixel scale or its transformation.

    Args:
        tiff: open file.

    Returns:
        Pixel size; None where the file has neither tag.

    Raises:
        ScaleError: the size is in degrees, in Web Mercator, or in an unknown unit.
    """
    page = image_page(tiff)
    tags = page.tags
    if "ModelPixelScaleTag" in tags:
        x, y = (float(side) for side in tags["ModelPixelScaleTag"].value[:2])
    elif "ModelTransformationTag" in tags:
        matrix = tags["ModelTransformationTag"].value
        x, y = (math.hypot(matrix[column], matrix[4 + column]) for column in (0, 1))
    else:
        return None
    um = 1e6 * _metres((page.geotiff_tags if page.is_geotiff else None) or {}, x)
    return PixelSize(SOURCE, x * um, y * um)


def _metres(keys: Mapping[str, Any], x: float) -> float:
    """Returns the metres in one unit of a GeoTIFF's coordinates; `x` is the pixel size, for errors."""
    give = "give um_per_px (--um-per-px)"
    if int(keys.get("GTModelTypeGeoKey", PROJECTED)) != PROJECTED:
        raise ScaleError(
            f"{SOURCE} says {x:g}, in degrees or from the Earth's centre, which is no size of a pixel: {give}"
        )
    code = int(keys.get("ProjectedCSTypeGeoKey", USER_DEFINED))
    if code in WEB_MERCATOR:
        raise ScaleError(
            f"{SOURCE} says {x:g} in Web Mercator (EPSG:{code}), whose metres are shorter on the ground away from the "
            f"equator: reproject the image, say to UTM, or {give}"
        )
    unit = int(keys.get("ProjLinearUnitsGeoKey", 0))
    if unit == USER_DEFINED and "ProjLinearUnitSizeGeoKey" in keys:
        return float(keys["ProjLinearUnitSizeGeoKey"])
    if unit in METRES:
        return METRES[unit]
    if unit == 0 and any(code in known for known in IN_METRES):
        return 1.0
    of = "in no unit" if code == USER_DEFINED else f"in the unit of EPSG:{code}"
    named = f"in the unit EPSG:{unit}" if unit else of
    raise ScaleError(f"{SOURCE} says {x:g} {named}, which is not known here: {give}")
