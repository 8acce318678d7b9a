"""Masks of the wire contract → boolean arrays and label maps."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from grainserve.errors import InvalidResult, MasksMissing


def decode_mask(mask: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Decodes one mask, whatever its format.

    Args:
        mask: COCO run-length mask, base64 PNG or polygon, as in the result.
        height: frame height, px.
        width: frame width, px.

    Returns:
        H × W, bool.

    Raises:
        MasksMissing: the mask is null.
        InvalidResult: it is none of the formats, or not of this frame's size.
    """
    if mask is None:
        raise MasksMissing()
    if isinstance(mask, dict):
        return _from_rle(mask, height, width)
    if isinstance(mask, str):
        return _from_png(mask, height, width)
    if isinstance(mask, list):
        return _from_rings(mask, height, width)
    raise InvalidResult(f"a mask is a {type(mask).__name__}, not RLE, PNG or polygon")


def paint_labels(masks: Sequence[NDArray[np.bool_]], ids: Sequence[int], height: int, width: int) -> NDArray[np.int32]:
    """Paints masks into one label map, the largest first, so that a mask inside another stays visible.

    Args:
        masks: n arrays, H × W, bool.
        ids: n labels, 1 or more.
        height: frame height, px.
        width: frame width, px.

    Returns:
        H × W, int32; 0 is background.
    """
    labels = np.zeros((height, width), np.int32)
    for index in sorted(range(len(masks)), key=lambda index: -int(np.count_nonzero(masks[index]))):
        labels[masks[index]] = ids[index]
    return labels


def _from_rle(mask: dict[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """COCO compressed run lengths: column by column, background first.

    Decoded here rather than by pycocotools, whose C code trusts what it is given.
    """
    try:
        mask_height, mask_width = mask["size"]
        runs = _run_lengths(mask["counts"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidResult(f"a mask is no COCO run-length mask: {error!r}") from error
    _check_size(mask_height, mask_width, height, width)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise InvalidResult(f"the run lengths of a mask do not add up to {width} × {height} px")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _run_lengths(counts: str) -> list[int]:
    """Unpacks run lengths: five bits a character, sign in the last; from the fourth on, differences to two before."""
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


def _from_png(mask: str, height: int, width: int) -> NDArray[np.bool_]:
    try:
        with Image.open(io.BytesIO(base64.b64decode(mask, validate=True))) as image:
            _check_size(image.height, image.width, height, width)
            return np.asarray(image.convert("1"), dtype=bool)
    except (binascii.Error, UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InvalidResult(f"a mask is no base64 PNG: {error}") from error


def _check_size(mask_height: int, mask_width: int, height: int, width: int) -> None:
    """Before anything is unpacked: a few characters may claim any size."""
    if (mask_height, mask_width) != (height, width):
        raise InvalidResult(f"a mask is {mask_width} × {mask_height} px, its image {width} × {height} px")


def _from_rings(rings: list[list[float]], height: int, width: int) -> NDArray[np.bool_]:
    """Fills rings of pixel-corner coordinates by the even-odd rule.

    A pixel belongs when its centre does: a scan along each row of centres toggles at each edge it crosses.
    """
    toggles = np.zeros((height, width + 1), np.int32)
    for ring in rings:
        try:
            points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise InvalidResult(f"a mask is no polygon: {error}") from error
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            top, bottom = min(y0, y1), max(y0, y1)
            rows = np.arange(max(0, int(np.ceil(top - 0.5))), min(height, int(np.ceil(bottom - 0.5))))
            if rows.size:  # a horizontal edge crosses no row of centres
                crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)
                np.add.at(toggles, (rows, columns), 1)
    return np.asarray(np.cumsum(toggles[:, :-1], axis=1) % 2 == 1)
