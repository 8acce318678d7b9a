"""The frame: the part of an image that is measured. Positions in results are those in the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grainserve.errors import InvalidOption

OPTIONS = ("crop", "ignore_bottom", "crop_source")


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels in an image, half-open.

    Attributes:
        x: left edge, px.
        y: top edge, px.
        width: width, px.
        height: height, px.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of the rectangle, px, in pixel-corner coordinates."""
        return self.x + self.width / 2, self.y + self.height / 2


def frame_of(options: Mapping[str, Any], width: int, height: int) -> Box:
    """Returns the frame that options leave of an image: `crop` less the rows of `ignore_bottom`.

    The handler does the same with an image of one job; this function is for an image that is cut into tiles.

    Args:
        options: checked options.
        width: width of the image, px.
        height: height of the image, px.

    Raises:
        InvalidOption: `crop` reaches beyond the image, or nothing is left.
    """
    crop, bottom = options.get("crop"), options.get("ignore_bottom") or 0
    x, y, columns, rows = map(int, crop.split(",")) if crop else (0, 0, width, height)
    if x + columns > width or y + rows > height:
        raise InvalidOption(
            f"crop: {crop} ends at x {x + columns}, y {y + rows}, and the image has {width} × {height} px: give "
            "x,y,width,height of a part of it"
        )
    rows = min(rows, height - bottom - y)
    if rows < 1:
        raise InvalidOption(
            f"ignore_bottom: without the {bottom} rows at the bottom of {height} nothing is left to measure: give fewer"
        )
    return Box(x, y, columns, rows)


def said_of(frame: Box, options: Mapping[str, Any], width: int, height: int) -> tuple[str, ...]:
    """Describes a frame in words, for the result's warnings.

    Args:
        frame: frame that was measured.
        options: options that asked for it.
        width: width of the image, px.
        height: height of the image, px.

    Returns:
        One sentence; none where nobody asked for a frame.
    """
    source = f" ({options['crop_source']})" if options.get("crop_source") else ""
    if frame != Box(0, 0, width, height):
        part = f"{frame.width} × {frame.height} px at x {frame.x}, y {frame.y}"
        return (f"only {part} of the image's {width} × {height} px were measured{source}",)
    return (f"the whole image was measured{source}",) if source else ()
