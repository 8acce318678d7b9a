"""The frame: the part of an image that is measured. Positions in answers stay those of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

from grain_handler.errors import InvalidOption
from grain_handler.wire.options import Options


@dataclass(frozen=True)
class Frame:
    """A rectangle of whole pixels in an image, at least one.

    Attributes:
        x: First column, px.
        y: First row, px.
        width: Columns, px.
        height: Rows, px.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px at x {self.x}, y {self.y}"


def frame_of(options: Options, width: int, height: int) -> Frame:
    """Makes the frame that options leave of an image of width × height px: `crop` less the rows of `ignore_bottom`.

    Raises:
        InvalidOption: `crop` reaches beyond the image, or nothing is left.
    """
    x, y, columns, rows = map(int, options.crop.split(",")) if options.crop else (0, 0, width, height)
    if x + columns > width or y + rows > height:
        raise InvalidOption(
            f"crop: {options.crop} ends at x {x + columns}, y {y + rows}, and the image has {width} × {height} px: "
            "give x,y,width,height of a part of it"
        )
    rows = min(rows, height - options.ignore_bottom - y)
    if rows < 1:
        raise InvalidOption(
            f"ignore_bottom: without the {options.ignore_bottom} rows at the bottom of {height} nothing is left to "
            "measure: give fewer"
        )
    return Frame(x, y, columns, rows)


def said_of(frame: Frame, options: Options, width: int, height: int) -> tuple[str, ...]:
    """Describes a frame in words; empty where nobody asked for one."""
    source = f" ({options.crop_source})" if options.crop_source else ""
    if frame != Frame(0, 0, width, height):
        return (f"only {frame} of the image's {width} × {height} px were measured{source}",)
    return (f"the whole image was measured{source}",) if source else ()
