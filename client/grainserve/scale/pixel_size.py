"""The pixel size that one source in a file gives, and the check that it is a scale."""

from __future__ import annotations

from dataclasses import dataclass

from grainserve.errors import ScaleConflict
from grainserve.scale.units import Scale

UNEQUAL = 0.005
"""Largest difference between the sides of a square pixel, as a share of the longer side."""

PANEL = 0.2
"""Largest height of the panel of data under a picture, as a share of the picture's height.

The size that a microscope writes into a file does not include the panel.
"""

Size = tuple[int, int]


@dataclass(frozen=True)
class PixelSize:
    """The sides of a pixel, as a source gives them.

    Attributes:
        source: name of the source.
        x, y: sides of a pixel, µm.
        size: width and height of the picture that the source describes, px; None where it names none.
        panel: whether the picture may have a panel of data under it that `size` does not include.
    """

    source: str
    x: float
    y: float
    size: Size | None = None
    panel: bool = False

    def scale(self, size: Size | None) -> Scale:
        """Returns the scale of a picture.

        Args:
            size: width and height of the picture, px; None where they are unknown.

        Raises:
            ScaleConflict: the source describes a picture of another size, or its pixels are not square.
            ScaleError: a pixel's side is no number above 0.
        """
        # Turning a picture on its side or cutting its panel off does not change the size of its pixels.
        if self.size and size and not (self._fits(size) or self._fits((size[1], size[0]))):
            raise ScaleConflict(
                f"{self.source} is of a picture of {self.size[0]} × {self.size[1]} px, and this one has {size[0]} × "
                f"{size[1]}: it was resized or cut since. Give the right scale as um_per_px (--um-per-px)"
            )
        if min(self.x, self.y) > 0 and abs(self.x - self.y) > UNEQUAL * max(self.x, self.y):
            raise ScaleConflict(
                f"{self.source} says pixels of {self.x:g} × {self.y:g} µm, and grains are measured in square ones: "
                "resample the image to square pixels and give um_per_px (--um-per-px)"
            )
        return Scale(min(self.x, self.y), self.source)

    def _fits(self, size: Size) -> bool:
        if self.size is None or self.size[0] != size[0]:
            return False
        return abs(size[1] - self.size[1]) <= (PANEL * self.size[1] if self.panel else 0)


def pixel_size(
    source: str, x: float | None, y: float | None = None, size: Size | None = None, panel: bool = False
) -> PixelSize | None:
    """Makes a `PixelSize`; returns None where the source gives no side.

    Args:
        source: name of the source.
        x: horizontal side of a pixel, µm; None where the source gives none.
        y: vertical side, µm; None makes pixels square.
        size: as in `PixelSize`.
        panel: as in `PixelSize`.
    """
    return None if x is None else PixelSize(source, x, x if y is None else y, size, panel)
