from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from grainserve.result import Result
from tests.unit.client.exports.scenes import hard_masks, hard_result
from tests.unit.client.made import make_result


def pixels_of(tiff: tifffile.TiffFile) -> dict[str, str]:
    """Returns the attributes of Pixels in the OME-XML."""
    assert tiff.ome_metadata is not None
    found = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    assert found is not None
    return found.attrib


@pytest.mark.parametrize("um_per_px", [0.25, 1 / 3, 1234.5])
def test_labels_read_back_with_the_size_of_a_pixel(um_per_px: float, tmp_path: Path) -> None:
    result = hard_result(um_per_px)
    result.export(tmp_path / "sand.tif")
    with tifffile.TiffFile(tmp_path / "sand.tif") as tiff:
        labels = tiff.asarray()
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, result.label_map)
        pixels = pixels_of(tiff)
        for axis in "XY":
            assert float(pixels[f"PhysicalSize{axis}"]) == um_per_px
            assert pixels[f"PhysicalSize{axis}Unit"] == "µm"
        page = tiff.pages.first
        per_cm = np.divide(*page.tags["XResolution"].value)
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        assert 10_000 / per_cm == pytest.approx(um_per_px, rel=1e-6)


def test_without_a_scale_no_size_is_claimed(tmp_path: Path) -> None:
    hard_result(None).export(tmp_path / "sand_labels.ome.tif")
    with tifffile.TiffFile(tmp_path / "sand_labels.ome.tif") as tiff:
        assert not any(name.startswith("PhysicalSize") for name in pixels_of(tiff))
        assert tiff.pages.first.tags["ResolutionUnit"].value == tifffile.RESUNIT.NONE


def test_ids_over_16_bits_are_told_and_kept(tmp_path: Path) -> None:
    data = make_result(masks=hard_masks())
    data["segmentedObjects"][0]["id"] = 70_000
    result = Result(data)
    with pytest.warns(UserWarning, match="32 bits"):
        result.export(tmp_path / "sand.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "sand.tif"), result.label_map)
