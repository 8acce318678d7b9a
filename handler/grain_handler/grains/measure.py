"""Label map → measurements of each grain.

scikit-image measures what it measures in reasonable time. The rest is computed here: it lacks least calipers and
texture, and takes seconds for hulls and intensities.

Lengths are in px, areas in px², angles in degrees; `_um` and `_um2` twins are added when a scale is known. A quantity
that does not exist (the direction of a one-pixel grain) is None, never NaN. docs/measurement.md defines every key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from grain_handler.grains import texture
from grain_handler.grains.hull import convex_areas, feret_diameters, hull_sides
from grain_handler.grains.intensities import intensities
from grain_handler.grains.runs import find_runs
from grain_handler.masks import Mask

Properties = dict[str, Any]

REGION_PROPERTIES = (
    "bbox",
    "area",
    "perimeter_crofton",  # in four directions
    "equivalent_diameter_area",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "centroid_local",  # from the corner of the bounding box
)
"""What scikit-image measures."""

PIXEL_AXIS = 4 / math.sqrt(12)
"""px; both axes of a pixel's own ellipse. scikit-image takes a pixel for a point, and a line of them has no width."""

ROUNDING = 1e-6
"""Moments are rounded: an eccentricity under this is a disc's or a square's, which is 0."""

LOW_PRECISION_DIAMETER = 10.0
"""Below this equivalent diameter, px, the pixel grid decides as much as the grain does."""

NO_MAJOR_AXIS = 1.02
"""Below this ratio of the axes, the direction of the longer one is an accident of the pixels."""

PARTS = {
    "boundingBox": ("x", "y", "width", "height"),
    "centroid": ("x", "y"),
    "centroid_um": ("x", "y"),
}
"""Keys whose value is an object."""

AREAS = ("area", "holeArea")
LENGTHS = ("perimeter", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "centroid", "feretMax", "feretMin")
"""Keys with a twin in µm² (areas) or in µm (lengths)."""

FIRST_CENTRE = 0.5
"""Centre of the first pixel, px from the image's corner. Places in µm count from the corner, as outlines do; a centroid
in px counts from this centre, as scikit-image's."""


STACK_PX = 1024 * 1024
"""Area limit of masks that are measured together, px; a larger mask is measured alone."""


def measure_labels(
    labels: NDArray[np.int32], image: NDArray[np.uint8], hole_areas: Sequence[int], um_per_px: float | None
) -> list[Properties]:
    """Measures every grain of a label map.

    Args:
        labels: H × W, int32; 0 is no grain, labels are 1…n without gaps. Up to 1024 × 1024 px.
        image: H × W × 3, uint8, RGB, for intensities.
        hole_areas: pixels of holes that were filled in each grain, px, n.
        um_per_px: scale, µm per px, or None.

    Returns:
        One dict for each grain, in the order of the labels.

    Raises:
        ValueError: the labels have a gap.
    """
    return _measure(labels, image, hole_areas, um_per_px, origins=np.zeros((2, 1), np.int64), frame=labels.shape)


def measure_mask(mask: Mask, image: NDArray[np.uint8], um_per_px: float | None) -> Properties:
    """Measures one mask by itself, as `measure_labels` does a grain."""
    (properties,) = measure_masks([mask], image, um_per_px)
    return properties


def measure_masks(masks: Sequence[Mask], image: NDArray[np.uint8], um_per_px: float | None) -> list[Properties]:
    """Measures masks that may overlap, each by itself, as `measure_labels` does a grain.

    One call for many grains takes less time than many calls: so a label map is made, in which masks lie one below the
    other.

    Args:
        masks: masks in the image, none of them empty.
        image: H × W × 3, uint8, RGB, for intensities.
        um_per_px: scale, µm per px, or None.

    Returns:
        One dict for each mask, in their order.
    """
    by_width = sorted(range(len(masks)), key=lambda i: masks[i].patch.shape[1])
    measured: dict[int, Properties] = {}
    while by_width:
        tall = 0
        some: list[int] = []
        for i in by_width:
            height, width = masks[i].patch.shape
            if some and (tall + height) * width > STACK_PX:
                break
            some.append(i)
            tall += height
        by_width = by_width[len(some) :]
        measured |= zip(some, _measure_stack([masks[i] for i in some], image, um_per_px), strict=True)
    return [measured[i] for i in range(len(masks))]


def _measure_stack(masks: Sequence[Mask], image: NDArray[np.uint8], um_per_px: float | None) -> list[Properties]:
    """Measures masks in a label map in which they lie one below the other."""
    heights, widths = zip(*(mask.patch.shape for mask in masks), strict=True)
    tops = np.cumsum((0, *heights))
    labels = np.zeros((tops[-1], max(widths)), np.int32)
    around = np.zeros((*labels.shape, 3), np.uint8)
    for label, (mask, top, height, width) in enumerate(zip(masks, tops[:-1], heights, widths, strict=True), start=1):
        labels[top : top + height, :width] = label * mask.patch
        around[top : top + height, :width] = image[mask.window()]
    origins = np.array([[mask.y for mask in masks] - tops[:-1], [mask.x for mask in masks]])
    hole_areas = [mask.hole_area for mask in masks]
    return _measure(labels, around, hole_areas, um_per_px, origins=origins, frame=image.shape)


def moved(properties: Properties, x: int, y: int, um_per_px: float | None) -> Properties:
    """Moves a grain's measurements from a frame to the image.

    Args:
        properties: measurements of the grain, placed in the frame.
        x: first column of the frame in the image, px.
        y: first row of the frame in the image, px.
        um_per_px: scale, µm per px, or None.

    Returns:
        The measurements, placed in the image.
    """
    if x == y == 0:
        return properties
    box, centroid = properties["boundingBox"], properties["centroid"]
    places: Properties = {
        "boundingBox": box | {"x": box["x"] + x, "y": box["y"] + y},
        "centroid": {"x": centroid["x"] + x, "y": centroid["y"] + y},
    }
    if um_per_px is not None:
        places["centroid_um"] = {axis: (at + FIRST_CENTRE) * um_per_px for axis, at in places["centroid"].items()}
    return properties | places


def _measure(
    labels: NDArray[np.int32],
    image: NDArray[np.uint8],
    hole_areas: Sequence[int],
    um_per_px: float | None,
    *,
    origins: NDArray[np.int64],
    frame: tuple[int, ...],
) -> list[Properties]:
    """Measures a map whose first pixel is at `origins` (rows, columns; 2 × n or 2 × 1) of the frame (height, width)."""
    if not labels.any():
        return []
    runs = find_runs(labels)
    region: dict[str, NDArray[Any]] = regionprops_table(labels, properties=REGION_PROPERTIES)
    y0, x0, y1, x1 = (region[f"bbox-{i}"] for i in range(4))
    y, x, height, width = y0 + origins[0], x0 + origins[1], y1 - y0, x1 - x0
    area = region["area"].astype(np.int64)
    major, minor, eccentricity, orientation = _ellipses(region)
    perimeter, diameter = region["perimeter_crofton"], region["equivalent_diameter_area"]
    mean, deviation = intensities(runs, area, image)
    right, left = hull_sides(runs)
    feret = feret_diameters(right, left, width, height)
    measured: dict[str, NDArray[Any]] = {
        "boundingBox": np.stack([x, y, width, height], axis=-1),
        "area": area,
        "holeArea": np.asarray(hole_areas),
        "perimeter": perimeter,
        "equivalentDiameter": diameter,
        "majorAxisLength": major,
        "minorAxisLength": minor,
        "orientation": orientation,
        "orientationFromX": np.where(major > NO_MAJOR_AXIS * minor, (orientation + 90) % 180, np.nan),
        "centroid": np.stack([region["centroid_local-1"] + x, region["centroid_local-0"] + y], axis=-1),
        "feretMax": feret.most,
        "feretMin": feret.least,
        "feretAngle": feret.angle,
        "circularity": 4 * math.pi * area / perimeter**2,
        "aspectRatio": major / minor,
        "roundness": minor / major,
        "solidity": area / convex_areas(right, left, y0, height),
        "eccentricity": eccentricity,
        "touchesEdge": (x == 0) | (y == 0) | (x + width == frame[1]) | (y + height == frame[0]),
        "lowPrecision": diameter < LOW_PRECISION_DIAMETER,
        "meanIntensity": mean,
        "intensityStd": deviation,
    }
    if um_per_px is not None:
        measured |= {f"{name}_um2": measured[name] * um_per_px**2 for name in AREAS}
        measured |= {f"{name}_um": measured[name] * um_per_px for name in LENGTHS}
        measured["centroid_um"] = (measured["centroid"] + FIRST_CENTRE) * um_per_px
    columns = {name: _values(name, values) for name, values in measured.items()}
    columns["texture"] = texture.describe(labels, image)
    return [dict(zip(columns, grain, strict=True)) for grain in zip(*columns.values(), strict=True)]


def _ellipses(region: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float64], ...]:
    """Full axes, eccentricity and orientation of the ellipses with the grains' second moments; n each, px and degrees.

    A pixel is a square of 1 px, as for ImageJ. The orientation is from the row axis to the major axis, in (−90, 90];
    −45 where no axis is the longer one.
    """
    major, minor = (np.hypot(region[f"axis_{which}_length"], PIXEL_AXIS) for which in ("major", "minor"))
    eccentricity = np.sqrt(1 - (minor / major) ** 2)
    round_ = eccentricity < ROUNDING
    # Rounded, so that a grain that lies along the rows has 90, and neither −90 nor a little less than 90; and no −0.
    angle = np.round(np.degrees(region["orientation"]), 9) + 0.0
    return (
        major,
        minor,
        np.where(round_, 0, eccentricity),
        np.where(round_, -45, np.where(angle == -90, 90, angle)),
    )


def _values(name: str, values: NDArray[Any]) -> list[Any]:
    """Returns the n grains' values of one key as JSON has them: None for NaN."""
    if name in PARTS:
        return [dict(zip(PARTS[name], parts, strict=True)) for parts in values.tolist()]
    listed: list[Any] = values.tolist()
    if values.dtype == np.float64 and np.isnan(values).any():
        return [None if math.isnan(value) else value for value in listed]
    return listed
