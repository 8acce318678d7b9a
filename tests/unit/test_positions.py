"""A grain's centroid, as the handler measures it, is the centre of area of its outline in every export."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from roifile import roiread

from grain_handler.grains.measure import measure_labels, moved
from grainserve import Result
from tests.unit.client.made import make_result

HEIGHT, WIDTH = 30, 40
Centre = tuple[float, float]


def centre_of(rings: list[Any]) -> Centre:
    """Centre of area of outer rings and holes, which run the other way (shoelace formula)."""
    twice_area = x = y = 0.0
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]]):
            cross = x0 * y1 - x1 * y0
            twice_area, x, y = twice_area + cross, x + (x0 + x1) * cross, y + (y0 + y1) * cross
    return x / (3 * twice_area), y / (3 * twice_area)


def measured(blob: NDArray[np.bool_], x: int, y: int, scale: float) -> Result:
    """A result with the handler's measurements of a blob at (x, y), of a part of the image that begins there."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + blob.shape[0], x : x + blob.shape[1]] = blob
    data = make_result(um_per_px=scale, masks=[mask])
    picture = np.zeros((*blob.shape, 3), np.uint8)
    (found,) = measure_labels(blob.astype(np.int32), picture, [0], scale)
    data["segmentedObjects"][0]["properties"] = moved(found, x, y, scale)
    return Result(data)


def outlines(result: Result, folder: Path) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    """The rings of each export, with the properties beside them; ImageJ's ROIs have none."""
    for form in ("geojson", "geojson-map", "qupath"):
        result.export(path := folder / form, form)
        (feature,) = json.loads(path.read_text())["features"]
        nested = feature["geometry"]["coordinates"]
        polygons = nested if feature["geometry"]["type"] == "MultiPolygon" else [nested]
        about = feature["properties"]
        yield form, [ring[:-1] for polygon in polygons for ring in polygon], about.get("measurements", about)
    result.export(path := folder / "rois.zip", "roi")
    read = roiread(path)
    roi = read[0] if isinstance(read, list) else read
    rings = [roi.coordinates()] if roi.multi_coordinates is None else roi.coordinates(multi=True)
    yield "roi", [np.asarray(ring).tolist() for ring in rings], result.grains[0].row()


@settings(max_examples=60, deadline=None)
@given(
    blob=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any),
    x=st.integers(0, WIDTH - 12),
    y=st.integers(0, HEIGHT - 12),
    scale=st.sampled_from([0.25, 1.0, 3.7]),
)
def test_a_centroid_is_its_outlines_in_px_and_in_um(blob: NDArray[np.bool_], x: int, y: int, scale: float) -> None:
    result = measured(blob, x, y, scale)
    with tempfile.TemporaryDirectory() as folder:
        for form, rings, about in outlines(result, Path(folder)):
            centre = centre_of(rings)
            in_px, in_um = ((about[f"{name}_x"], about[f"{name}_y"]) for name in ("centroid", "centroid_um"))
            if form == "geojson-map":  # in µm, from the bottom left corner
                centre = centre[0] / scale, HEIGHT - centre[1] / scale
            # In px a centroid counts from the centre of the first pixel, in µm from the image's corner, as outlines do.
            assert (in_px[0] + 0.5, in_px[1] + 0.5) == pytest.approx(centre, abs=1e-6), form
            assert in_um == pytest.approx((scale * centre[0], scale * centre[1]), abs=1e-6), form
