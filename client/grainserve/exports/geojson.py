"""GeoJSON: a feature for each grain, its outline exact to the pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grainserve.exports.outlines import Point, Polygon, polygons

if TYPE_CHECKING:
    from grainserve.results.data import Grain, ResultData

Place = Callable[[Point], tuple[float, float]]
Properties = Callable[["Grain"], dict[str, Any]]


def write_geojson(result: ResultData, path: Path) -> None:
    """Writes outlines in px as an image counts them, y down, with the grain's row of the table as properties."""
    _write_as_image(result, path, _row)


def write_qupath(result: ResultData, path: Path) -> None:
    """Writes outlines in px as QuPath (0.4 on) reads them: detections with class and measurements."""
    _write_as_image(result, path, _detection)


def write_map(result: ResultData, path: Path) -> None:
    """Writes outlines as a map counts, y up: in µm where the result has a scale, else px.

    Properties as in `write_geojson`: places among them (`centroid_y`, …) stay in px of the image, y down.
    """
    scale, unit = (1.0, PIXEL) if result.um_per_px is None else (result.um_per_px, MICROMETRE)
    features = _features(result, lambda point: (point[0] * scale, (result.height - point[1]) * scale), -1, _row)
    _write(result, path, features, _plane("bottom left", "north", unit))


def _write_as_image(result: ResultData, path: Path, properties: Properties) -> None:
    _write(result, path, _features(result, lambda point: point, 1, properties), _plane("top left", "south", PIXEL))


PIXEL, MICROMETRE = 'SCALEUNIT["pixel",1]', 'LENGTHUNIT["micrometre",1e-6]'


def _plane(corner: str, y: str, unit: str) -> str:
    """The plane of an image as a coordinate reference system: Well-known Text 2, ISO 19162."""
    axes = f'CS[Cartesian,2],AXIS["x",east],AXIS["y",{y}],{unit}'
    return f'ENGCRS["image, from its {corner} corner",EDATUM["image"],{axes}]'


def _write(result: ResultData, path: Path, features: list[dict[str, Any]], crs: str) -> None:
    collection = {
        "type": "FeatureCollection",
        # RFC 7946 has longitudes and latitudes only, and GDAL, so QGIS and R, takes numbers without this older member
        # for such.
        "crs": {"type": "name", "properties": {"name": crs}},
        "metadata": dict(result.metadata),
        "features": features,
    }
    path.write_text(json.dumps(collection, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def _features(result: ResultData, place: Place, step: int, properties: Properties) -> list[dict[str, Any]]:
    """A feature for each grain; `step` is −1 where `place` mirrors, and so turns rings round."""
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
    """Outer rings counter-clockwise by the numbers, holes clockwise, as RFC 7946 asks; rings closed."""
    placed = [[[place(point) for point in [*ring, ring[0]][::step]] for ring in polygon] for polygon in outlines]
    if len(placed) == 1:
        return {"type": "Polygon", "coordinates": placed[0]}
    return {"type": "MultiPolygon", "coordinates": placed}


def _row(grain: Grain) -> dict[str, Any]:
    return grain.row()


def _detection(grain: Grain) -> dict[str, Any]:
    """QuPath's properties; its measurements are numbers and nothing else."""
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
