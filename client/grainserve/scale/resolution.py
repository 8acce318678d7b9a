"""Reads the resolution tags of TIFF, PNG and JPEG.

Some are a microscope's; most are a printer's, a screen's or a scanner's, and no scale.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from PIL import Image

from grainserve.reading.picture import BROKEN
from grainserve.scale.pixel_size import PixelSize
from grainserve.scale.tiff_page import image_page

INCH_UM = 25_400.0

PRINTED_UM = 10.0
"""Pixels of this size or larger, µm (2540 dpi and less), belong to printing or a screen: programs write 72, 96, 300 or
600 dpi into every file. Microscopes that use these tags write finer pixels."""

SCANNED_UM = 1.25
"""Pixels of this size or larger, µm (20,320 dpi and less), belong to a film scanner, which has 2700 to 19,200 dpi. This
holds for tags per inch; for tags per centimetre, which many microscopes write, only where the dpi are a round number.
"""

ROUND_DPI, NEARLY = 50, 1e-4
"""Scanners' resolutions are multiples of `ROUND_DPI`, to within the share `NEARLY`, since px per cm are rounded."""

FINEST_UM = 1e-3
"""Least pixel size, µm. A tag that gives a finer one makes no sense, such as 2³² − 1 dpi."""

JPEG_LARGEST = 65_535
"""The largest number that JPEG's tags hold."""

UNITS_PER_INCH = {2: 1.0, 3: 2.54}
"""TIFF's ResolutionUnit → units per inch: 2 is the inch, 3 the centimetre; 1 means no unit."""


@dataclass(frozen=True)
class Density:
    """The resolution that a file's tags give.

    Attributes:
        kind: kind of file: `TIFF`, `PNG`, `JPEG`, ….
        x, y: pixels per inch, across and down.
        metric: whether the tags give pixels per centimetre.
    """

    kind: str
    x: float
    y: float
    metric: bool = False

    @property
    def why_not(self) -> str:
        """Reason why the resolution is not taken as a scale; empty where it is taken."""
        sides = [INCH_UM / each if each > 0 else math.inf for each in (self.x, self.y)]
        if not all(math.isfinite(each) for each in (self.x, self.y, *sides)) or min(sides) < FINEST_UM:
            return f"its {self.kind} resolution tags say {max(self.x, self.y):.0f} dpi, which makes no sense"
        if self.kind == "JPEG" and round(self.x) == JPEG_LARGEST:
            return f"its JPEG resolution tags say {self.x:.0f}, the largest number they can hold, which makes no sense"
        if sides[0] >= PRINTED_UM:
            return f"its {self.x:.0f} dpi are taken for a resolution in print"
        away = abs(self.x - ROUND_DPI * round(self.x / ROUND_DPI))
        if is_scanned(sides[0]) and not (self.metric and away > NEARLY * self.x):
            return f"its {self.x:.0f} dpi are taken for a scanner's resolution"
        return ""


def is_scanned(um: float) -> bool:
    """Tells whether pixels of a size, µm, may be a scanner's or a printer's, for tags that give pixels per inch."""
    return um >= SCANNED_UM


def resolution(data: bytes) -> PixelSize | None:
    """Returns the pixel size by a file's resolution tags; None without tags, and where they are no scale."""
    found = density(data)
    if found is None or found.why_not:
        return None
    return PixelSize(f"{found.kind} resolution tags", INCH_UM / found.x, INCH_UM / found.y)


def not_taken(data: bytes) -> str:
    """Says why the resolution tags are no scale; empty without tags, and where they are one."""
    found = density(data)
    return found.why_not if found else ""


def density(data: bytes) -> Density | None:
    """Reads the resolution tags; None where they are missing, 0, or 1, which programs write when there is no unit."""
    found = _of_tiff(data) if is_tiff(data) else _of_others(data)
    return None if found is None or max(found.x, found.y) <= 1 else found


def is_tiff(data: bytes) -> bool:
    """Tells whether a file is a TIFF or BigTIFF by its first four bytes."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _of_others(data: bytes) -> Density | None:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            dpi = opened.info.get("dpi")
            return None if dpi is None else Density(str(opened.format), float(dpi[0]), float(dpi[1]))
    except (*BROKEN, Image.DecompressionBombError):
        return None


def _of_tiff(data: bytes) -> Density | None:
    # tifffile also reads the tags of files whose pixel type Pillow does not know.
    import tifffile  # noqa: PLC0415

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = image_page(file).tags
            unit = int(tags.valueof("ResolutionUnit", 2))
            values = [tags.valueof(f"{axis}Resolution") for axis in "XY"]
            if unit not in UNITS_PER_INCH or None in values:
                return None
            x, y = (UNITS_PER_INCH[unit] * (above / below if below else 0.0) for above, below in values)
            return Density("TIFF", x, y, metric=unit == 3)
    except (tifffile.TiffFileError, AttributeError, *BROKEN):
        return None
