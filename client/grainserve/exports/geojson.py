"""GeoJSON: a feature for each grain, its outline exact to the pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grainserve.exports.outlines import Point, Polygon, polygons

if TYPE_CHECKING:
    from grainserve.result import Grain, Result

Place = Callable[[Point], tuple[float, float]]


def write_geojson(result: Result, path: Path) -> None:
    """Writes outlines in px as an image counts them, y down, with the grain's row of the table as properties."""
    _write(result, path, "px from the image's top left corner, y down", lambda point: point, _row)


def write_map(result: Result, path: Path) -> None:
    """Writes outlines as a map counts, y up: in µm where the result has a scale, else px.

    Properties as in `write_geojson`: places among them (`centroid_y`, …) stay in px of the image, y down.
    """
    scale = 1 if result.um_per_px is None else result.um_per_px
    about = f"{result.size_unit} from the image's bottom left corner, y up"
    _write(result, path, about, lambda point: (point[0] * scale, (result.height - point[1]) * scale), _row)


def write_qupath(result: Result, path: Path) -> None:
    """Writes outlines in px as QuPath (0.4 on) reads them: detections with class and measurements."""
    _write(result, path, "px from the image's top left corner, y down", lambda point: point, _detection)


def _write(result: Result, path: Path, about: str, place: Place, properties: Callable[[Grain], dict[str, Any]]) -> None:
    mirrored = place((0, 1))[1] < place((0, 0))[1]
    features = [
        {
            "type": "Feature",
            "id": grain.id,
            "properties": properties(grain),
            "geometry": _geometry(polygons(window), place, mirrored),
        }
        for grain, window in zip(result.grains, result.windows, strict=True)
    ]
    collection = {
        "type": "FeatureCollection",
        # RFC 7946 has longitudes and latitudes only. The older null tells GDAL, and so QGIS, that these are none.
        "crs": None,
        "grainserve": {"coordinates": about, "metadata": dict(result.metadata)},
        "features": features,
    }
    path.write_text(json.dumps(collection, allow_nan=False, ensure_ascii=False), encoding="utf-8")


def _geometry(outlines: list[Polygon], place: Place, mirrored: bool) -> dict[str, Any]:
    """Outer rings counter-clockwise by the numbers, holes clockwise, as RFC 7946 asks; rings closed."""
    step = -1 if mirrored else 1
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
