"""Writes ImageJ's regions of interest (ROIs) as the zip file that its ROI Manager reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grainserve.results.outlines import Ring, polygons

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from grainserve.results.data import Grain, ResultData

MOVE_TO, LINE_TO, CLOSE = 0.0, 1.0, 4.0
"""Steps of a composite ROI's path, as `java.awt.geom.PathIterator` numbers them."""


def write_rois(result: ResultData, path: Path) -> None:
    """Writes a ROI for each grain, named by its id and class, such as `0017-quartz`.

    A grain of one ring becomes a traced ROI, which runs along the corners of pixels as one of ImageJ's wand does. A
    grain with holes or of several pieces becomes a composite ROI. Both select the mask's pixels exactly.

    Args:
        result: result to write.
        path: file to write.

    Raises:
        MasksMissing: the result was asked for with mask_format `none`.
    """
    from roifile import roiwrite  # noqa: PLC0415

    outlines = (polygons(window) for window in result.windows)
    rois = (
        _roi([ring for polygon in each for ring in polygon], _name(grain))
        for grain, each in zip(result.grains, outlines, strict=True)
    )
    roiwrite(path, rois, mode="w")  # the default would append to an existing file


def _name(grain: Grain) -> str:
    """Returns a ROI's name, which is also its file name in the archive."""
    label = re.sub(r"[^\w .+-]", "_", grain.label)
    return f"{grain.id:04d}-{label}"


def _roi(rings: list[Ring], name: str) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi  # noqa: PLC0415

    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0], name=name)
        roi.roitype = ROI_TYPE.TRACED
        return roi
    steps: list[float] = []
    for ring in rings:
        for number, (x, y) in enumerate(ring):
            steps += (LINE_TO if number else MOVE_TO, x, y)
        steps.append(CLOSE)
    points = np.concatenate([np.array(ring) for ring in rings])
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        name=name,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(steps),
        multi_coordinates=np.array(steps, np.float32),
    )
