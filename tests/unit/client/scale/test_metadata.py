from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from grainserve.errors import ScaleConflict, ScaleError
from grainserve.scale.metadata import PRINTED_UM, file_scale
from tests.unit.client.scale.pictures import saved, tagged, texture

PIXELS = texture(100, 10, 20, 30)


def tiff(**settings: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS[..., 0], **settings)
    return buffer.getvalue()


def ome(x: float, y: float | None = None, unit: str | None = "µm") -> bytes:
    said = {"axes": "YX", "PhysicalSizeX": x} | ({"PhysicalSizeY": y} if y else {})
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit} if unit else {}
    return tiff(ome=True, metadata=said | units)


ZEISS = "\r\n".join(["0", "AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 55.82 nm", ""])
FEI = "[User]\r\nDate=1\r\n[Scan]\r\nPixelWidth=2.5e-08\r\nPixelHeight=2.5e-08\r\n"
SAYING = {
    "OME-XML PhysicalSizeX": (ome(0.65, 0.65), 0.65),
    "OME-XML PhysicalSizeX ": (ome(650, 650, "nm"), 0.65),
    "OME-XML PhysicalSizeX  ": (ome(0.65, unit=None), 0.65),
    "ImageJ description": (tiff(imagej=True, resolution=(4.0, 4.0), metadata={"unit": "micron"}), 0.25),
    "ImageJ description ": (tiff(imagej=True, resolution=(4.0, 4.0), metadata={"unit": "mm"}), 250.0),
    "ImageJ description  ": (tiff(imagej=True, resolution=(4.0, 4.0), metadata={"unit": "\\u00B5m"}), 0.25),
    "TIFF resolution tags": (tiff(resolution=(4000, 4000), resolutionunit="CENTIMETER"), 2.5),
    "TIFF resolution tags ": (tiff(resolution=(25_400, 25_400), resolutionunit="INCH"), 1.0),
    "PNG resolution tags": (saved(PIXELS, dpi=(25_400, 25_400)), 1.0),
    "JPEG resolution tags": (saved(PIXELS, "JPEG", dpi=(12_700, 12_700)), 2.0),
    "Zeiss SEM tag 34118": (tagged(PIXELS, 34118, ZEISS), 0.05582),
    "Thermo Fisher (FEI) SEM tag": (tagged(PIXELS, 34682, FEI), 0.025),
    "Aperio description": (tiff(description="Aperio Image Library v1\r\n30x20|AppMag = 20|MPP = 0.4990"), 0.499),
}


@pytest.mark.parametrize("case", SAYING)
def test_what_a_file_says_and_where(case: str) -> None:
    data, um_per_px = SAYING[case]
    found = file_scale(data)
    assert found is not None
    assert found.source == case.strip()
    assert found.um_per_px == pytest.approx(um_per_px, rel=1e-3)


SILENT = {
    "no tags": tiff(),
    "pixels": tiff(imagej=True, resolution=(1.0, 1.0)),
    "no unit": tiff(resolution=(4000, 4000), resolutionunit="NONE"),
    "OME without sizes": tiff(ome=True, metadata={"axes": "YX"}),
    "OME in pixels": ome(1, 1, "pixel"),
    **{f"{dpi} dpi": tiff(resolution=(dpi, dpi), resolutionunit="INCH") for dpi in (72, 96, 300, 600, 1200, 2400)},
    "ImageJ of 72 dpi": tiff(imagej=True, resolution=(72.0, 72.0), metadata={"unit": "inch"}),
    "PNG of 300 dpi": saved(PIXELS, dpi=(300, 300)),
    "JPEG of 1 dpi": saved(PIXELS, "JPEG", dpi=(1, 1)),
    "zero": tiff(resolution=(0, 0), resolutionunit="INCH"),
    "no page": b"II*\0" + bytes(4),
}


@pytest.mark.parametrize("case", SILENT)
def test_a_file_that_says_no_scale(case: str) -> None:
    assert file_scale(SILENT[case]) is None


def test_the_resolution_that_is_no_longer_one_for_printing() -> None:
    at, finer = (tiff(resolution=(dpi, dpi), resolutionunit="INCH") for dpi in (2540, 2600))
    assert file_scale(at) is None
    found = file_scale(finer)
    assert found is not None
    assert found.um_per_px < PRINTED_UM


def test_a_microscope_s_own_word_goes_before_the_resolution() -> None:
    data = tiff(
        resolution=(25_400, 25_400), resolutionunit="INCH", ome=True, metadata={"axes": "YX", "PhysicalSizeX": 2}
    )
    found = file_scale(data)
    assert found is not None
    assert (found.um_per_px, found.source) == (2.0, "OME-XML PhysicalSizeX")


@pytest.mark.parametrize("data", [ome(0.5, 0.6), tiff(resolution=(4000, 8000), resolutionunit="CENTIMETER")])
def test_pixels_that_are_not_square_are_an_error(data: bytes) -> None:
    with pytest.raises(ScaleConflict, match="square"):
        file_scale(data)


def test_a_size_below_zero_is_an_error() -> None:
    with pytest.raises(ScaleError, match="no scale"):
        file_scale(ome(-1, -1))


@pytest.mark.parametrize(
    ("text", "source", "um_per_px"),
    [
        ("$$SM_MICRON_BAR 105\n$$SM_MICRON_MARKER 10um\n", "JEOL sem.txt", 10 / 105),
        ("[SemImageFile]\r\nPixelSize=99.21875\r\n", "Hitachi sem.txt", 0.09921875),
        ("notes of mine: PixelSize=3\n", None, None),
        ("$$SM_MICRON_BAR 0\n$$SM_MICRON_MARKER 10um\n", None, None),
    ],
)
def test_the_text_file_beside_an_image(tmp_path: Path, text: str, source: str | None, um_per_px: float | None) -> None:
    (tmp_path / "sem.txt").write_text(text)
    found = file_scale(saved(np.asarray(PIXELS)), tmp_path / "sem.jpg")
    assert (found and found.source) == source
    assert (found and found.um_per_px) == (um_per_px and pytest.approx(um_per_px))


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_tiff_says_a_scale_none_or_why_not() -> None:
    whole = tagged(PIXELS[:2, :2], 34118, ZEISS)
    for place in range(8, len(whole)):
        for value in (0, 1, 7, 255):
            damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
            with contextlib.suppress(ScaleError):
                file_scale(damaged)
