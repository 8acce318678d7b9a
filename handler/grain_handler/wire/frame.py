"""The frame: the part of an image that is measured. Positions in answers stay those of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

from grain_handler.errors import InvalidOption
from grain_handler.wire.options import Options


@dataclass(frozen=True)
class Frame:
    """A rectangle in an image, at least 1 × 1 px.

    Attributes:
        x: first column, px.
        y: first row, px.
        width: number of columns, px.
        height: number of rows, px.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The frame's rows and columns, as slices of the image."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px at x {self.x}, y {self.y}"


def frame_of(options: Options, width: int, height: int) -> Frame:
    """Returns the frame that the options ask for: `crop`, without the `ignore_bottom` rows at the image's bottom.

    Args:
        options: options of the request.
        width: width of the image, px.
        height: height of the image, px.

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
    """Describes a frame in words, for the answer's warnings.

    Args:
        frame: the frame.
        options: options of the request.
        width: width of the image, px.
        height: height of the image, px.

    Returns:
        One sentence; none if the frame is the whole image and the request names no `crop_source`.
    """
    source = f" ({options.crop_source})" if options.crop_source else ""
    if frame != Frame(0, 0, width, height):
        return (f"only {frame} of the image's {width} × {height} px were measured{source}",)
    return (f"the whole image was measured{source}",) if source else ()
