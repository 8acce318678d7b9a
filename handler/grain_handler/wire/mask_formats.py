"""Mask → COCO RLE, PNG or polygon."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from grain_handler.masks import Mask

Ring = list[float]

RLE_LETTERS = 5
"""Largest number of letters of a run: 25 bits."""


def write_mask(mask: Mask, height: int, width: int, mask_format: str) -> Any:
    """Writes a mask in the format that the request asks for.

    Args:
        mask: mask, placed in the whole image.
        height: height of the image, px.
        width: width of the image, px.
        mask_format: `rle`, `png`, `polygon` or `none`.

    Returns:
        For `rle`, COCO's compressed RLE ({"size": [height, width], "counts": text}); for `png`, a 1-bit PNG of the
        whole image in base64; for `polygon`, a list of rings [x0, y0, x1, y1, …] along pixel corners, px; for `none`,
        None.

    Raises:
        ValueError: the format is none of these.
    """
    if mask_format == "rle":
        rle = coco.encode(np.asfortranarray(mask.full(height, width), dtype=np.uint8))
        return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
    if mask_format == "png":
        buffer = io.BytesIO()
        Image.fromarray(mask.full(height, width)).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")
    if mask_format == "polygon":
        return polygon(mask.patch, mask.x, mask.y)
    if mask_format == "none":
        return None
    raise ValueError(f"unknown mask format {mask_format!r}")


def write_cropped(mask: Mask, height: int, width: int, mask_format: str) -> Any:
    """Writes a mask cropped to its bounding box, with the arguments of `write_mask`.

    Run lengths have `x` and `y`, the position of their top left corner. A PNG lies at the bounding box. Polygons have
    the image's coordinates, as from `write_mask`.
    """
    if mask_format == "rle":
        return write_patch(mask)
    if mask_format == "png":
        rows, columns = mask.patch.shape
        return write_mask(replace(mask, x=0, y=0), rows, columns, mask_format)
    return write_mask(mask, height, width, mask_format)


def write_patch(mask: Mask) -> dict[str, Any]:
    """Writes COCO's compressed RLE of a mask's own rectangle and its position: {"size", "counts", "x", "y"}."""
    rle = coco.encode(np.asfortranarray(mask.patch, dtype=np.uint8))
    return {"size": list(mask.patch.shape), "counts": rle["counts"].decode("ascii"), "x": mask.x, "y": mask.y}


def read_rle(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    """Reads COCO's compressed RLE.

    pycocotools is not used, because runs that are too long make it write beyond the mask.

    Each letter has five bits of a number, the lowest first; the last letter has the sign. From the fourth number on, a
    number is the difference to the run before the last.

    Args:
        counts: text of the RLE.
        height: height of the mask, px.
        width: width of the mask, px.

    Returns:
        height × width, bool.

    Raises:
        ValueError: the text is no RLE, or not that of a mask of this size.
    """
    if len(counts) > height * width + RLE_LETTERS + 1:  # a run of one pixel takes a letter, and only long ones more
        raise ValueError(f"{len(counts)} letters are more than {height} × {width} px need")
    letters = np.frombuffer(counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not letters.size or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        raise ValueError("these are no COCO run lengths")
    last = letters < 32
    first = np.flatnonzero(np.r_[True, last[:-1]])
    length = np.diff(first, append=letters.size)
    if length.max() > RLE_LETTERS:
        raise ValueError("a run is longer than any image")
    shift = 5 * (np.arange(letters.size) - np.repeat(first, length))
    numbers = np.add.reduceat((letters & 31) << shift, first)
    numbers -= np.where(letters[first + length - 1] & 16, 1 << (5 * length), 0)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"the runs are not those of {height} × {width} px")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def polygon(patch: NDArray[np.bool_], x: int, y: int) -> list[Ring]:
    """Traces the outlines of a mask along the corners of its pixels, so that no pixel is lost.

    Rings of holes run the other way round. Even-odd filling of all rings gives exactly the mask.

    Args:
        patch: h × w, bool.
        x: column of the patch's left edge, px.
        y: row of the patch's top edge, px.

    Returns:
        Rings [x0, y0, x1, y1, …], px, not closed, without collinear points.
    """
    padded = np.pad(patch, 1).astype(np.int8)
    ends: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    # Each boundary side of a pixel is a step with the mask on its right.
    down = np.diff(padded, axis=1)[1:-1]
    for row, column in zip(*np.nonzero(down), strict=True):
        top, bottom = (int(column), int(row)), (int(column), int(row) + 1)
        start, end = (bottom, top) if down[row, column] > 0 else (top, bottom)
        ends[start].append(end)
    right = np.diff(padded, axis=0)[:, 1:-1]
    for row, column in zip(*np.nonzero(right), strict=True):
        left, far = (int(column), int(row)), (int(column) + 1, int(row))
        start, end = (left, far) if right[row, column] > 0 else (far, left)
        ends[start].append(end)

    rings = []
    while ends:
        start = next(iter(ends))
        ring, at, step = [start], start, (0, 0)
        while True:
            choices = ends[at]
            # Where two pixels meet at a corner, turning right keeps them in rings of their own.
            turn = (at[0] - step[1], at[1] + step[0])
            to = turn if turn in choices else choices[0]
            choices.remove(to)
            if not choices:
                del ends[at]
            step, at = (to[0] - at[0], to[1] - at[1]), to
            if at == start:
                break
            ring.append(at)
        rings.append([float(value) for point in _corners(ring) for value in (point[0] + x, point[1] + y)])
    return rings


def _corners(ring: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leaves out the points where the outline goes straight on."""
    kept = []
    for before, point, after in zip(ring[-1:] + ring[:-1], ring, ring[1:] + ring[:1], strict=True):
        if (point[0] - before[0], point[1] - before[1]) != (after[0] - point[0], after[1] - point[1]):
            kept.append(point)
    return kept
