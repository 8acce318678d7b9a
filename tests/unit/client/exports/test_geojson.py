from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from shapely.affinity import affine_transform

from grainserve.result import Result
from grainserve.results.masks import decode_mask
from tests.unit.client.exports.scenes import SCALE, hard_masks, hard_result


def read(path: Path) -> dict[str, Any]:
    text: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return text


def plane_of(frame: gpd.GeoDataFrame) -> tuple[str, str]:
    """Returns the unit of a frame's plane and the direction of its y; GDAL must not place it on Earth."""
    assert frame.crs.is_engineering
    x, y = frame.crs.axis_info
    assert x.unit_name == y.unit_name
    return y.unit_name, y.direction


@pytest.fixture
def result() -> Result:
    return hard_result()


def test_geopandas_reads_valid_outlines_and_every_column_of_the_table(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "grains.geojson"
    result.export(path)
    frame = gpd.read_file(path)
    assert plane_of(frame) == ("pixel", "south")
    assert frame.geometry.is_valid.all()
    np.testing.assert_array_equal(frame.geometry.area, frame["area"])
    expected = result.to_dataframe()
    for name in expected.columns:
        # A column of nulls has no type in GeoJSON.
        np.testing.assert_array_equal(frame[name].astype(expected[name].dtype), expected[name], err_msg=name)
    assert read(path)["metadata"] == result.metadata
    assert read(path)["features"][-1]["properties"]["orientationFromX"] is None


def test_outlines_fill_to_the_masks(result: Result, tmp_path: Path) -> None:
    result.export(tmp_path / "grains.geojson")
    for feature, mask in zip(read(tmp_path / "grains.geojson")["features"], hard_masks(), strict=True):
        geometry = feature["geometry"]
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        rings = [np.ravel(ring).tolist() for polygon in parts for ring in polygon]
        np.testing.assert_array_equal(decode_mask(rings, *mask.shape), mask)


def test_on_a_map_outlines_are_mirrored_and_in_micrometres(result: Result, tmp_path: Path) -> None:
    for name in ("grains.geojson", "grains_map.geojson"):
        result.export(tmp_path / name)
    image, mapped = gpd.read_file(tmp_path / "grains.geojson"), gpd.read_file(tmp_path / "grains_map.geojson")
    to_map = [SCALE, 0, 0, -SCALE, 0, SCALE * result.height]
    assert plane_of(mapped) == ("micrometre", "north")
    assert mapped.geometry.is_valid.all()
    assert all(
        there.equals(affine_transform(here, to_map))
        for here, there in zip(image.geometry, mapped.geometry, strict=True)
    )
    np.testing.assert_allclose(mapped.geometry.area, mapped["area_um2"])


def test_a_map_without_a_scale_is_in_pixels_and_says_so(tmp_path: Path) -> None:
    hard_result(None).export(tmp_path / "grains_map.geojson")
    frame = gpd.read_file(tmp_path / "grains_map.geojson")
    assert plane_of(frame) == ("pixel", "north")
    np.testing.assert_array_equal(frame.geometry.area, frame["area"])


@pytest.mark.parametrize("name", ["grains.geojson", "grains_map.geojson", "grains_qupath.geojson"])
def test_outer_rings_run_counter_clockwise_and_rings_are_closed_as_rfc_7946_asks(
    name: str, result: Result, tmp_path: Path
) -> None:
    result.export(tmp_path / name)
    for geometry in gpd.read_file(tmp_path / name).geometry:
        for polygon in getattr(geometry, "geoms", [geometry]):
            assert polygon.exterior.is_ccw
            assert not any(hole.is_ccw for hole in polygon.interiors)
    for feature in read(tmp_path / name)["features"]:
        nested = feature["geometry"]["coordinates"]
        polygons = nested if feature["geometry"]["type"] == "MultiPolygon" else [nested]
        assert all(ring[0] == ring[-1] for polygon in polygons for ring in polygon)


def test_qupath_gets_detections_with_a_class_and_measurements_that_are_numbers(result: Result, tmp_path: Path) -> None:
    result.export(tmp_path / "grains_qupath.geojson")
    features = read(tmp_path / "grains_qupath.geojson")["features"]
    for feature, grain in zip(features, result.grains, strict=True):
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"] == {"name": grain.label}
        assert properties["name"] == str(grain.id)
        assert {type(value) for value in properties["measurements"].values()} <= {int, float}
        assert properties["measurements"]["area_um2"] == grain.properties["area_um2"]
    assert "orientationFromX" not in features[-1]["properties"]["measurements"]  # it is null
