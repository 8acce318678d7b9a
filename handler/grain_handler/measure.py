"""Label map → measurements of each grain.

Lengths are in px, areas in px², angles in degrees; `_um` and `_um2` twins are added when a scale is known.
A quantity that does not exist (the aspect ratio of a one-pixel grain) is None, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from skimage.measure import regionprops

from grain_handler import texture
from grain_handler.masks import Mask

Properties = dict[str, Any]

LOW_PRECISION_DIAMETER = 10.0
"""Below this equivalent diameter, px, the pixel grid decides as much as the grain does."""

NO_MAJOR_AXIS = 1.02
"""Under this ratio of the axes the direction of the longer one is an accident of the pixels."""

LENGTHS = ("perimeter", "equivalentDiameter", "majorAxisLength", "minorAxisLength", "feretMax", "feretMin")
AREAS = ("area", "holeArea")


def measure_labels(
    labels: NDArray[np.int32], image: NDArray[np.uint8], hole_areas: Sequence[int], um_per_px: float | None
) -> list[Properties]:
    """Measures every grain of a label map.

    Args:
        labels: H × W, int32; 0 is no grain, labels are 1…n without gaps.
        image: H × W × 3, uint8, RGB, for mean intensities.
        hole_areas: n counts of hole pixels that were filled, px.
        um_per_px: Scale, µm per px, or None.

    Returns:
        One dict a grain, in the order of the labels.
    """
    textures = texture.describe(labels, image)
    return [
        _scaled(_properties(region, (0, 0), labels.shape, hole_areas[region.label - 1]) | {"texture": made}, um_per_px)
        for region, made in zip(regionprops(labels, intensity_image=image), textures, strict=True)
    ]


def measure_mask(mask: Mask, image: NDArray[np.uint8], um_per_px: float | None) -> Properties:
    """Measures one mask by itself, as `measure_labels` does a grain; for masks that may overlap."""
    rows, columns = mask.window()
    patch, pixels = mask.patch.astype(np.int32), image[rows, columns]
    (region,), (made,) = regionprops(patch, intensity_image=pixels), texture.describe(patch, pixels)
    return _scaled(
        _properties(region, (mask.y, mask.x), image.shape[:2], mask.hole_area) | {"texture": made}, um_per_px
    )


def _properties(region: Any, origin: tuple[int, int], frame: tuple[int, ...], hole_area: int) -> Properties:
    """Measures a region of a map whose first pixel is at `origin` (row, column) of the frame (height, width)."""
    y0, x0, y1, x1 = (int(edge) + origin[i % 2] for i, edge in enumerate(region.bbox))
    area = int(region.area)
    # Crofton's formula over 4 directions: 0 to 2 % high on discs, where the chain code is up to 14 % off.
    perimeter = float(region.perimeter_crofton)
    major, minor = float(region.axis_major_length), float(region.axis_minor_length)
    diameter = math.sqrt(4 * area / math.pi)
    orientation = math.degrees(float(region.orientation))
    orientation = 90.0 if orientation <= -90 else orientation
    feret_max, feret_min, feret_angle = feret(region.image)
    centroid_y, centroid_x = (float(value) + start for value, start in zip(region.centroid, origin, strict=True))
    has_major_axis = minor > 0 and major / minor >= NO_MAJOR_AXIS
    properties: Properties = {
        "boundingBox": {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
        "area": area,
        "holeArea": hole_area,
        "perimeter": perimeter,
        "equivalentDiameter": diameter,
        "majorAxisLength": major,
        "minorAxisLength": minor,
        "orientation": orientation,
        "orientationFromX": (orientation + 90) % 180 if has_major_axis else None,
        "centroid": {"x": centroid_x, "y": centroid_y},
        "feretMax": feret_max,
        "feretMin": feret_min,
        "feretAngle": feret_angle,
        "circularity": _ratio(4 * math.pi * area, perimeter**2),
        "aspectRatio": _ratio(major, minor),
        "roundness": _ratio(4 * area, math.pi * major**2),
        "solidity": _ratio(area, float(region.area_convex)),
        "eccentricity": float(region.eccentricity),
        "touchesEdge": y0 == 0 or x0 == 0 or y1 == frame[0] or x1 == frame[1],
        "lowPrecision": diameter < LOW_PRECISION_DIAMETER,
        "meanIntensity": [float(value) for value in region.intensity_mean],
    }
    return {name: _finite(value) for name, value in properties.items()}


def feret(patch: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Feret diameters by rotating calipers on the hull of the pixels' corners.

    Args:
        patch: h × w, bool, at least one True.

    Returns:
        Largest and smallest caliper width, px, and the direction of the largest: degrees counter-clockwise
        from +x as displayed, in [0, 180).
    """
    # Only the first and last pixel of each row can be on the hull.
    rows = np.flatnonzero(patch.any(axis=1))
    first = patch[rows].argmax(axis=1)
    last = patch.shape[1] - patch[rows][:, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([x, y], axis=1) for x in (first, last) for y in (rows, rows + 1)])
    hull = corners[ConvexHull(corners).vertices].astype(np.float64)
    across = hull[:, None] - hull[None]
    distances = np.hypot(across[..., 0], across[..., 1])
    i, j = np.unravel_index(int(np.argmax(distances)), distances.shape)
    dx, dy = across[i, j]
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.hypot(edges[:, 0], edges[:, 1])[:, None]
    heights = hull @ normals.T
    narrowest = float((heights.max(axis=0) - heights.min(axis=0)).min())
    return float(distances[i, j]), narrowest, math.degrees(math.atan2(-dy, dx)) % 180


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scaled(properties: Properties, um_per_px: float | None) -> Properties:
    if um_per_px is None:
        return properties
    twins = {f"{name}_um": properties[name] * um_per_px for name in LENGTHS}
    twins |= {f"{name}_um2": properties[name] * um_per_px**2 for name in AREAS}
    return properties | twins
