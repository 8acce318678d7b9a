"""Writes GeoJSON: a feature for each grain, with an outline exact to the pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grainserve.results.outlines import Point, Polygon, polygons

if TYPE_CHECKING:
    from grainserve.results.data import Grain, ResultData

Place = Callable[[Point], tuple[float, float]]
Properties = Callable[["Grain"], dict[str, Any]]


def write_geojson(result: ResultData, path: Path) -> None:
    """Writes outlines in px of the image, y down, with each grain's row of the table as properties."""
    _write_as_image(result, path, _row)


def write_qupath(result: ResultData, path: Path) -> None:
    """Writes outlines in px for QuPath (0.4 or later), as detections with class and measurements."""
    _write_as_image(result, path, _detection)


def write_map(result: ResultData, path: Path) -> None:
    """Writes outlines as a map has them, y up, in µm; without a scale in px.

    The properties are those of `write_geojson`: positions among them (`centroid_y`, …) stay in px of the image, y down.
    """
    scale, unit = (1.0, PIXEL) if result.um_per_px is None else (result.um_per_px, MICROMETRE)
    features = _features(result, lambda point: (point[0] * scale, (result.height - point[1]) * scale), -1, _row)
    _write(result, path, features, _plane("bottom left", "north", unit))


def _write_as_image(result: ResultData, path: Path, properties: Properties) -> None:
    _write(result, path, _features(result, lambda point: point, 1, properties), _plane("top left", "south", PIXEL))


PIXEL, MICROMETRE = 'SCALEUNIT["pixel",1]', 'LENGTHUNIT["micrometre",1e-6]'


def _plane(corner: str, y: str, unit: str) -> str:
    """Returns the coordinate reference system of an image's plane, as Well-known Text 2 (ISO 19162).

    Args:
        corner: corner of the image that is the origin.
        y: direction of the y axis, `south` or `north`.
        unit: `PIXEL` or `MICROMETRE`.
    """
    axes = f'CS[Cartesian,2],AXIS["x",east],AXIS["y",{y}],{unit}'
    return f'ENGCRS["image, from its {corner} corner",EDATUM["image"],{axes}]'


def _write(result: ResultData, path: Path, features: list[dict[str, Any]], crs: str) -> None:
    collection = {
        "type": "FeatureCollection",
        # RFC 7946 knows only longitudes and latitudes. Without this older member GDAL, and so QGIS and R, would read
        # the coordinates as degrees.
        "crs": {"type": "name", "properties": {"name": crs}},
        "metadata": dict(result.metadata),
        "features": features,
    }
    path.write_text(json.dumps(collection, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def _features(result: ResultData, place: Place, step: int, properties: Properties) -> list[dict[str, Any]]:
    """Makes a feature for each grain.

    Args:
        result: result with masks.
        place: function that maps a point in px of the image to coordinates.
        step: −1 where `place` mirrors and so reverses rings, else 1.
        properties: function that makes a grain's properties.
    """
    return [
        {
            "type": "Feature",
            "id": grain.id,
            "properties": properties(grain),
            "geometry": _geometry(polygons(window), place, step),
        }
        for grain, window in zip(result.grains, result.windows, strict=True)
    ]


def _geometry(outlines: list[Polygon], place: Place, step: int) -> dict[str, Any]:
    """Makes a geometry of closed rings: outer ones counter-clockwise by the numbers, holes clockwise (RFC 7946)."""
    placed = [[[place(point) for point in [*ring, ring[0]][::step]] for ring in polygon] for polygon in outlines]
    if len(placed) == 1:
        return {"type": "Polygon", "coordinates": placed[0]}
    return {"type": "MultiPolygon", "coordinates": placed}


def _row(grain: Grain) -> dict[str, Any]:
    return grain.row()


def _detection(grain: Grain) -> dict[str, Any]:
    """Makes the properties that QuPath reads. Its measurements can only be numbers."""
    measured = {
        name: value
        for name, value in grain.row().items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "id"
    }
    return {
        "objectType": "detection",
        "name": str(grain.id),
        "classification": {"name": grain.label},
        "measurements": measured,
    }
