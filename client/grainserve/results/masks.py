"""Decodes masks of the wire contract into boolean arrays and label maps, and encodes them as run lengths."""

from __future__ import annotations

import base64
import binascii
import io
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from grainserve.errors import InvalidResult, MasksMissing


@dataclass(frozen=True)
class Window:
    """A mask, as the part of its frame that holds it: a frame of 20 megapixels has thousands of small masks.

    Attributes:
        x: column of the patch's left edge, px.
        y: row of the patch's top edge, px.
        patch: h × w, bool; a True in each outer row and column, or 0 × 0 where the mask is empty.
    """

    x: int
    y: int
    patch: NDArray[np.bool_]

    def slices(self) -> tuple[slice, slice]:
        """Returns the rows and columns of the patch in the frame."""
        return slice(self.y, self.y + self.patch.shape[0]), slice(self.x, self.x + self.patch.shape[1])

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(np.count_nonzero(self.patch))

    def intersection(self, other: Window) -> int:
        """Returns the number of pixels that both masks have."""
        left, top = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.patch.shape[1], other.x + other.patch.shape[1])
        bottom = min(self.y + self.patch.shape[0], other.y + other.patch.shape[0])
        if left >= right or top >= bottom:
            return 0
        mine = self.patch[top - self.y : bottom - self.y, left - self.x : right - self.x]
        its = other.patch[top - other.y : bottom - other.y, left - other.x : right - other.x]
        return int(np.count_nonzero(mine & its))


def decode_window(mask: Any, height: int, width: int, box: Mapping[str, Any] | None = None) -> Window:
    """Decodes one mask, whatever its format.

    Args:
        mask: COCO run-length mask, base64 PNG or polygon, as in the result. A run-length mask with `x` and `y` has the
            size of a part of the frame, and lies there.
        height: height of the frame, px.
        width: width of the frame, px.
        box: the object's `boundingBox`; a PNG of its size lies there. None: a PNG has the frame's size.

    Raises:
        MasksMissing: the mask is null.
        InvalidResult: the mask has none of the formats, or does not fit this frame.
    """
    if mask is None:
        raise MasksMissing()
    if isinstance(mask, dict):
        return _from_rle(mask, height, width)
    if isinstance(mask, str):
        return _from_png(mask, height, width, box)
    if isinstance(mask, list):
        return _from_rings(mask, height, width)
    raise InvalidResult(f"a mask is a {type(mask).__name__}, not RLE, PNG or polygon")


def decode_mask(mask: Any, height: int, width: int, box: Mapping[str, Any] | None = None) -> NDArray[np.bool_]:
    """Decodes one mask into its whole frame, H × W, bool; see `decode_window` for arguments and errors."""
    frame = np.zeros((height, width), bool)
    window = decode_window(mask, height, width, box)
    frame[window.slices()] = window.patch
    return frame


def window_of(mask: NDArray[np.bool_]) -> Window:
    """Returns the part of a mask, H × W, bool, that holds it."""
    return _cropped(mask, 0, 0)


def encode_rle(window: Window, height: int, width: int) -> dict[str, Any]:
    """Encodes a mask as COCO run lengths of the wire contract: {"size": [height, width], "counts": text}.

    Args:
        window: mask to encode.
        height: height of the frame, px.
        width: width of the frame, px.
    """
    strip = np.zeros((window.patch.shape[1], height), bool)  # run lengths go column by column
    strip[:, window.slices()[0]] = window.patch.T
    edges = np.flatnonzero(np.diff(strip.ravel(), prepend=False, append=False)) + window.x * height
    runs = np.diff(edges, prepend=0, append=height * width).tolist()
    # A mask that reaches the frame's last pixel ends the list: no empty run follows it.
    return {"size": [height, width], "counts": _packed(runs if runs[-1] or len(runs) == 1 else runs[:-1])}


def paint_labels(windows: Sequence[Window], ids: Sequence[int], height: int, width: int) -> NDArray[np.int32]:
    """Paints masks into one label map, the largest first, so that a mask inside another stays visible.

    Args:
        windows: n masks.
        ids: n labels, 1 or more.
        height: height of the frame, px.
        width: width of the frame, px.

    Returns:
        Label map, H × W, int32; 0 is background.
    """
    labels = np.zeros((height, width), np.int32)
    for index in sorted(range(len(windows)), key=lambda index: -windows[index].area):
        labels[windows[index].slices()][windows[index].patch] = ids[index]
    return labels


def _from_rle(mask: dict[str, Any], height: int, width: int) -> Window:
    """Decodes COCO's compressed run lengths: column by column, background first.

    pycocotools is not used: its C code trusts what it is given.
    """
    try:
        x, y, rows, columns = _place_of_runs(mask, height, width)
        runs = _run_lengths(mask["counts"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidResult(f"a mask is no COCO run-length mask: {error!r}") from error
    if min(runs, default=0) < 0 or sum(runs) != rows * columns:
        raise InvalidResult(f"the run lengths of a mask do not add up to {columns} × {rows} px")
    ends = np.cumsum(runs)
    inside = [(end - run, end) for run, end in zip(runs[1::2], ends[1::2].tolist(), strict=True) if run]
    if not inside:
        return window_of(np.zeros((0, 0), bool))
    # Unpacks only the columns that the mask has.
    first, last = inside[0][0] // rows, (inside[-1][1] - 1) // rows + 1
    patch = np.zeros((last - first) * rows, bool)
    for start, end in inside:
        patch[start - first * rows : end - first * rows] = True
    return _cropped(patch.reshape((rows, last - first), order="F"), x + first, y)


def _place_of_runs(mask: dict[str, Any], height: int, width: int) -> tuple[int, int, int, int]:
    """Returns the part of the frame that run lengths cover: its first column and row, its height and width, px."""
    rows, columns = mask["size"]
    if "x" not in mask and "y" not in mask:
        _check_size(rows, columns, height, width)
        return 0, 0, height, width
    return _place(mask["x"], mask["y"], rows, columns, height=height, width=width)


def _place(x: Any, y: Any, rows: Any, columns: Any, *, height: int, width: int) -> tuple[int, int, int, int]:
    """Returns a part of the frame, checked: its first column and row, its height and width, px."""
    x, y, rows, columns = map(operator.index, (x, y, rows, columns))
    if not (0 <= x <= x + columns <= width and 0 <= y <= y + rows <= height):
        raise InvalidResult(
            f"a mask of {columns} × {rows} px at x {x}, y {y} reaches outside its image of {width} × {height} px"
        )
    return x, y, rows, columns


def _cropped(frame: NDArray[np.bool_], x: int, y: int) -> Window:
    """Returns the window of a mask whose first pixel is at column x and row y of the frame."""
    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    if not rows.size:
        return Window(0, 0, np.zeros((0, 0), bool))
    cut = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Window(x + int(columns[0]), y + int(rows[0]), np.ascontiguousarray(cut))


def _run_lengths(counts: str) -> list[int]:
    """Unpacks run lengths.

    Each character has five bits of a number, and the last one of a number has its sign. From the fourth number on, each
    is the difference to the number two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is not in the alphabet of run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("the run lengths end in the middle of a number")
    return runs


def _packed(runs: Sequence[int]) -> str:
    """Packs run lengths; the inverse of `_run_lengths`."""
    text: list[str] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr(48 + bits + (0x20 if more else 0)))
    return "".join(text)


def _from_png(mask: str, height: int, width: int, box: Mapping[str, Any] | None) -> Window:
    try:
        with Image.open(io.BytesIO(base64.b64decode(mask, validate=True))) as image:
            x, y, rows, columns, whose = 0, 0, height, width, "its image"
            if box and (image.height, image.width) != (height, width):
                x, y, rows, columns = _place(
                    box["x"], box["y"], box["height"], box["width"], height=height, width=width
                )
                whose = "its bounding box"
            _check_size(image.height, image.width, rows, columns, whose)
            return _cropped(np.asarray(image.convert("1"), dtype=bool), x, y)
    except (binascii.Error, UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InvalidResult(f"a mask is no base64 PNG: {error}") from error
    except (KeyError, TypeError) as error:
        raise InvalidResult(f"a mask's boundingBox is no box: {error!r}") from error


def _check_size(mask_height: int, mask_width: int, height: int, width: int, whose: str = "its image") -> None:
    """Checks the size of a mask before anything is unpacked: a few characters may claim any size."""
    if (mask_height, mask_width) != (height, width):
        raise InvalidResult(f"a mask is {mask_width} × {mask_height} px, {whose} {width} × {height} px")


def _from_rings(rings: list[list[float]], height: int, width: int) -> Window:
    """Fills rings of pixel-corner coordinates by the even-odd rule.

    A pixel belongs to the mask when its centre does: a scan along each row of centres toggles at each edge it crosses.
    """
    try:
        outlines = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidResult(f"a mask is no polygon: {error}") from error
    if not any(points.size for points in outlines):
        return window_of(np.zeros((0, 0), bool))
    low, high = (limit(np.concatenate(outlines), axis=0) for limit in (np.min, np.max))
    left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    toggles = np.zeros((bottom - top, right - left + 1), np.int32)
    for points in outlines:
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            start, end = min(y0, y1), max(y0, y1)
            rows = np.arange(max(top, int(np.ceil(start - 0.5))), min(bottom, int(np.ceil(end - 0.5))))
            if rows.size:  # a horizontal edge crosses no row of centres
                crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                columns = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.intp)
                np.add.at(toggles, (rows - top, columns - left), 1)
    return _cropped(np.cumsum(toggles[:, :-1], axis=1) % 2 == 1, left, top)
