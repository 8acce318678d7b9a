"""The resolution tags of TIFF, PNG and JPEG: of a microscope at times, mostly of a printer, a screen or a scanner."""

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
"""Pixels this large or larger (2540 dpi and less) are of printing or a screen: programs write 72, 96, 300 or 600 dpi
into every file. Microscopes that use these tags write finer ones."""

SCANNED_UM = 1.25
"""Pixels this large or larger (20,320 dpi and less) are of a film scanner, at 2700 to 19,200 dpi, where they are said
in inches; and in centimetres, as many microscopes do, where they come to a round number of dpi."""

ROUND_DPI, NEARLY = 50, 1e-4
"""Scanners' resolutions are multiples of this, to within this share where they were rounded to px per cm."""

FINEST_UM = 1e-3
"""Pixels finer than a nanometre are no resolution but a tag without sense, such as 2³² − 1 dpi."""

JPEG_LARGEST = 65_535
"""The largest number that JPEG's tags hold."""

UNITS_PER_INCH = {2: 1.0, 3: 2.54}
"""By TIFF's ResolutionUnit: inch, centimetre; 1 is no unit."""


@dataclass(frozen=True)
class Density:
    """The resolution that a file's tags give.

    Attributes:
        kind: of file.
        x, y: pixels per inch, across and down.
        metric: whether it was said per centimetre.
    """

    kind: str
    x: float
    y: float
    metric: bool = False

    @property
    def why_not(self) -> str:
        """The reason why it is not taken for a scale; empty where it is taken."""
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
    """Whether pixels this large may be a scanner's or a printer's, where they are said in inches."""
    return um >= SCANNED_UM


def resolution(data: bytes) -> PixelSize | None:
    """The size of pixels by the resolution tags; None where there are none, or they are not taken."""
    found = density(data)
    if found is None or found.why_not:
        return None
    return PixelSize(f"{found.kind} resolution tags", INCH_UM / found.x, INCH_UM / found.y)


def not_taken(data: bytes) -> str:
    """Says why the resolution tags are not taken for a scale; empty where there are none or they are taken."""
    found = density(data)
    return found.why_not if found else ""


def density(data: bytes) -> Density | None:
    """Reads the resolution tags; None where they say nothing: 0, or the 1 that is written where there is no unit."""
    found = _of_tiff(data) if is_tiff(data) else _of_others(data)
    return None if found is None or max(found.x, found.y) <= 1 else found


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _of_others(data: bytes) -> Density | None:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            dpi = opened.info.get("dpi")
            return None if dpi is None else Density(str(opened.format), float(dpi[0]), float(dpi[1]))
    except (*BROKEN, Image.DecompressionBombError):
        return None


def _of_tiff(data: bytes) -> Density | None:
    # tifffile reads the tags of pixel types that Pillow knows none of.
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
