from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from grainserve.errors import ScaleConflict, ScaleError
from grainserve.scale.metadata import file_scale
from grainserve.scale.resolution import not_taken
from tests.unit.client.scale.pictures import DATA, saved, tagged, texture

PIXELS = texture(100, 10, 20, 30)


def tiff(**settings: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS[..., 0], **settings)
    return buffer.getvalue()


def ome(x: float, y: float | None = None, unit: str | None = "µm") -> bytes:
    said = {"axes": "YX", "PhysicalSizeX": x} | ({"PhysicalSizeY": y} if y else {})
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit} if unit else {}
    return tiff(ome=True, metadata=said | units)


def geo(side: tuple[float, float, float] | None, keys: dict[int, int] | None = None, **settings: Any) -> bytes:
    """Makes a GeoTIFF in a projection, with these keys."""
    all_keys = {1024: 1} | (UTM if keys is None else keys)
    directory = [
        1,
        1,
        0,
        len(all_keys),
        *(part for key, value in sorted(all_keys.items()) for part in (key, 0, 1, value)),
    ]
    tags = [(34735, "H", len(directory), tuple(directory), True), *settings.pop("extratags", ())]
    if side is not None:
        tags.append((33550, "d", 3, side, True))
    return tiff(extratags=tags, **settings)


UTM, LOCAL = {3072: 32632}, {3072: 32767}
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
    "JPEG resolution tags": (saved(PIXELS, "JPEG", dpi=(50_800, 50_800)), 0.5),
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
    "ImageJ in pixels": tiff(imagej=True, resolution=(4.0, 4.0), metadata={"unit": "pixels"}),
    "ImageJ of 72 dpi": tiff(imagej=True, resolution=(72.0, 72.0), metadata={"unit": "inch"}),
    "ImageJ of a film scan": tiff(imagej=True, resolution=(4000.0, 4000.0), metadata={"unit": "inch"}),
    "JPEG of 1 dpi": saved(PIXELS, "JPEG", dpi=(1, 1)),
    "zero": tiff(resolution=(0, 0), resolutionunit="INCH"),
    "no page": b"II*\0" + bytes(4),
}


@pytest.mark.parametrize("case", SILENT)
def test_a_file_that_says_no_scale(case: str) -> None:
    assert file_scale(SILENT[case]) is None


PRINT, SCAN, NONSENSE = "resolution in print", "a scanner's resolution", "makes no sense"


@pytest.mark.parametrize("dpi", [72, 96, 300, 600, 1200, 2400, 2540])
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_a_resolution_for_printing_is_named_and_not_taken(kind: str, dpi: int) -> None:
    data = saved(PIXELS, kind, dpi=(dpi, dpi))
    assert file_scale(data) is None
    assert not_taken(data) == f"its {dpi} dpi are taken for a {PRINT}"


@pytest.mark.parametrize(
    "dpi", [2700, 2720, 2820, 2880, 3200, 4000, 4800, 5400, 6400, 7200, 8000, 9600, 12_800, 19_200]
)
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_a_film_scanner_s_resolution_is_named_and_not_taken(kind: str, dpi: int) -> None:
    data = saved(PIXELS, kind, dpi=(dpi, dpi))
    assert file_scale(data) is None
    assert SCAN in not_taken(data)


@pytest.mark.parametrize("dpi", [2700, 4000, 5400, 7200, 9600])
def test_nor_is_it_where_a_program_has_made_centimetres_of_it(dpi: int) -> None:
    per_cm = (round(dpi / 2.54 * 1000), 1000)
    data = tiff(resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    assert file_scale(data) is None
    assert SCAN in not_taken(data)


@pytest.mark.parametrize("um", [1.0, 2.5, 3.4523, 8.0])
def test_a_microscope_s_resolution_in_centimetres_is_taken(um: float) -> None:
    data = tiff(resolution=(1e4 / um, 1e4 / um), resolutionunit="CENTIMETER")
    found = file_scale(data)
    assert found is not None
    assert found.um_per_px == pytest.approx(um, rel=1e-5)
    assert not not_taken(data)


@pytest.mark.parametrize("value", [(2**32 - 1, 1), (2**31, 1), (2**31, 3)])
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_a_resolution_without_sense_is_named_and_not_taken(value: tuple[int, int], unit: str) -> None:
    data = tiff(resolution=(value, value), resolutionunit=unit)
    assert file_scale(data) is None
    assert re.search(rf"TIFF resolution tags say \d+ dpi, which {NONSENSE}", not_taken(data))


def test_the_largest_number_of_a_jpeg_is_no_resolution() -> None:
    data = saved(PIXELS, "JPEG", dpi=(65_535, 65_535))
    assert file_scale(data) is None
    assert NONSENSE in not_taken(data)


def test_a_resolution_is_read_of_pixels_that_pillow_knows_none_of() -> None:
    buffer = io.BytesIO()
    pixels = np.zeros((4, 4, 5), np.float64)
    tifffile.imwrite(buffer, pixels, photometric="minisblack", resolution=(50_800, 50_800), resolutionunit="INCH")
    found = file_scale(buffer.getvalue())
    assert found is not None
    assert found.um_per_px == pytest.approx(0.5)


def test_a_microscope_s_own_word_goes_before_the_resolution() -> None:
    data = tiff(
        resolution=(25_400, 25_400), resolutionunit="INCH", ome=True, metadata={"axes": "YX", "PhysicalSizeX": 2}
    )
    found = file_scale(data)
    assert found is not None
    assert (found.um_per_px, found.source) == (2.0, "OME-XML PhysicalSizeX")


@pytest.mark.parametrize(
    "data", [ome(0.5, 0.6), tiff(resolution=(20_000, 40_000), resolutionunit="CENTIMETER"), geo((0.5, 0.25, 0.0))]
)
def test_pixels_that_are_not_square_are_an_error(data: bytes) -> None:
    with pytest.raises(ScaleConflict, match="square"):
        file_scale(data)


@pytest.mark.parametrize("data", [ome(-1, -1), ome(1e-13, 1e-13), ome(2, 2, "m")])
def test_a_size_that_no_pixel_has_is_an_error(data: bytes) -> None:
    with pytest.raises(ScaleError, match="no scale"):
        file_scale(data)


# Units of OME's schema, 2016-06, in µm; Mm and mm, Pm and pm differ.
OME_UNITS = {"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "thou": 25.4}
OME_UNITS |= {"in": 25_400, "ft": 304_800, "yd": 914_400, "pt": 25_400 / 72, "li": 25_400 / 12, "hm": 1e8, "km": 1e9}
OME_UNITS |= {"Mm": 1e12, "Gm": 1e15, "fm": 1e-9, "dam": 1e7, "mi": 1609.344e6}


@pytest.mark.parametrize("unit", OME_UNITS)
def test_ome_s_units(unit: str) -> None:
    size = 0.5 / OME_UNITS[unit]
    found = file_scale(ome(size, size, unit))
    assert found is not None
    assert found.um_per_px == pytest.approx(0.5)


IMAGEJ_UNITS = {
    1.0: [
        "um",
        "µm",
        "μm",
        "\\u00B5m",
        "\\u03BCm",
        "micron",
        "microns",
        "Micron",
        "micrometer",
        "micrometers",
        "micrometre",
    ],
    1e3: ["mm", "MM", "millimeter", "millimeters", "Millimetre"],
    1e-3: ["nm", "nanometer", "nanometers"],
    1e4: ["cm", "centimeter", "centimetres"],
    1e6: ["m", "meter", "meters", "metre"],
    25_400.0: ["inch", "inches", "in", "Inches"],
    1e-4: ["Å", "\\u00C5", "\\u212B", "angstrom", "Angstroms"],
    304_800.0: ["ft", "foot", "feet"],
}


@pytest.mark.parametrize(("um", "unit"), [(um, unit) for um, units in IMAGEJ_UNITS.items() for unit in units])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_imagej_s_units(um: float, unit: str, encoding: str) -> None:
    if unit == "μm" and encoding == "latin-1":
        encoding = "utf-8"  # Latin 1 has no Greek letter
    written = f"ImageJ=1.54f\nunit={unit}\n".encode(encoding)
    found = file_scale(tiff(description=written, metadata=None, resolution=(um / 0.5, um / 0.5)))
    assert found is not None
    assert found.um_per_px == pytest.approx(0.5, rel=1e-4)


def test_imagej_s_other_unit_across() -> None:
    same, other = (
        tiff(imagej=True, resolution=(2.0, down), metadata={"unit": "um", "yunit": unit})
        for down, unit in ((2000.0, "mm"), (2.0, "mm"))
    )
    found = file_scale(same)
    assert found is not None
    assert found.um_per_px == pytest.approx(0.5)
    with pytest.raises(ScaleConflict, match="square"):
        file_scale(other)


@pytest.mark.parametrize(
    "data",
    [
        tiff(imagej=True, resolution=(4.0, 4.0), metadata={"unit": "furlong"}),
        ome(0.5, 0.5, "furlong"),
        tagged(PIXELS, 34118, "0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 3 furlong\r\n"),
    ],
)
def test_a_unit_that_is_not_known_is_named(data: bytes) -> None:
    with pytest.raises(ScaleError, match="'furlong' is no unit that is known"):
        file_scale(data)


@pytest.mark.parametrize("number", ["55.82", "55,82", "5.582E+01", "5,582e1", "0.05582E3"])
def test_numbers_of_other_countries_and_of_science(number: str) -> None:
    zeiss = tagged(PIXELS, 34118, ZEISS.replace("55.82", number))
    found = file_scale(zeiss)
    assert found is not None
    assert found.um_per_px == pytest.approx(0.05582)
    found = file_scale(tagged(PIXELS, 34682, FEI.replace("2.5e-08", "2,5E-08")))
    assert found is not None
    assert found.um_per_px == pytest.approx(0.025)


@pytest.mark.parametrize("number", ["1.234,5", "1,234.5", "0.4.9", "4.9E", "about 5", "1 000"])
def test_a_number_is_read_to_its_end_or_is_an_error(tmp_path: Path, number: str) -> None:
    (tmp_path / "sem.txt").write_text(f"[SemImageFile]\r\nPixelSize={number}\r\n")
    with pytest.raises(ScaleError, match="give um_per_px"):
        file_scale(saved(PIXELS), tmp_path / "sem.png")


RESIZED = {
    "OME": ome(0.5, 0.5).replace(b'SizeX="30" SizeY="20"', b'SizeX="60" SizeY="40"'),
    "OME, one side": ome(0.5, 0.5).replace(b'SizeX="30" SizeY="20"', b'SizeX="30" SizeY="21"'),
    "Zeiss": tagged(PIXELS, 34118, ZEISS + "DP_IMAGE_STORE\r\nStore resolution = 1024 * 768\r\n"),
    "FEI": tagged(PIXELS, 34682, FEI + "[Image]\r\nResolutionX=60\r\nResolutionY=40\r\n"),
    "Aperio": tiff(description="Aperio Image Library v1\r\n60x40|AppMag = 20|MPP = 0.4990"),
}


@pytest.mark.parametrize("case", RESIZED)
def test_a_scale_of_another_size_of_picture_is_a_conflict(case: str) -> None:
    with pytest.raises(ScaleConflict, match=r"is of a picture of .* px, and this one has 30 × 20"):
        file_scale(RESIZED[case])


def test_a_panel_under_the_picture_or_one_on_its_side_is_no_other_size() -> None:
    for size in ("ResolutionX=30\r\nResolutionY=18", "ResolutionX=20\r\nResolutionY=30"):
        assert file_scale(tagged(PIXELS, 34682, f"{FEI}[Image]\r\n{size}\r\n")) is not None


@pytest.mark.parametrize(
    ("keys", "um"),
    [
        (UTM, 1e6),
        (UTM | {3076: 9001}, 1e6),
        (LOCAL | {3076: 9001}, 1e6),
        (LOCAL | {3076: 9002}, 304_800),
        ({3072: 2225, 3076: 9003}, 1e6 * 1200 / 3937),
        (LOCAL | {3076: 9036}, 1e9),
    ],
)
def test_the_pixels_of_a_geotiff(keys: dict[int, int], um: float) -> None:
    side = 500 / um
    for settings in ({}, {"resolution": (50_800, 50_800), "resolutionunit": "INCH"}):
        found = file_scale(geo((side, side, 0.0), keys, **settings))
        assert found is not None
        assert found.um_per_px == pytest.approx(500)
        assert found.source == "GeoTIFF ModelPixelScale"


@pytest.mark.parametrize("thumbnail_first", [True, False])
def test_a_thumbnail_s_scale_is_not_the_image_s(thumbnail_first: bool) -> None:
    pages = [(PIXELS, 40_000, 0, 0.0005), (PIXELS[::4, ::4], 10_000, 1, 0.002)]
    for on_ground in (False, True):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for array, per_cm, subfile, metres in reversed(pages) if thumbnail_first else pages:
                tags: list[Any] = [(34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32632), True)]
                tags.append((33550, "d", 3, (metres, metres, 0.0), True))
                writer.write(
                    array[..., 0],
                    subfiletype=subfile,
                    metadata=None,
                    resolution=(per_cm, per_cm),
                    resolutionunit="CENTIMETER",
                    extratags=tags if on_ground else [],
                )
        found = file_scale(file.getvalue())
        assert found is not None
        assert found.um_per_px == pytest.approx(500 if on_ground else 0.25)


def test_a_geotiff_that_is_turned() -> None:
    matrix = (0.0003, 0.0004, 0, 5e5, 0.0004, -0.0003, 0, 5e6, 0, 0, 0, 0, 0, 0, 0, 1)
    found = file_scale(geo(None, UTM, extratags=[(34264, "d", 16, matrix, True)]))
    assert found is not None
    assert found.um_per_px == pytest.approx(500)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({1024: 2, 2048: 4326}, "degrees"),
        ({3072: 3857, 3076: 9001}, "Web Mercator"),
        ({3072: 2225}, "unit of EPSG:2225"),
        (LOCAL, "in no unit"),
        (LOCAL | {3076: 9005}, "EPSG:9005"),
        ({}, "in no unit"),
    ],
)
def test_a_geotiff_in_no_unit_of_length_that_is_known(keys: dict[int, int], said: str) -> None:
    with pytest.raises(ScaleError, match=said):
        file_scale(geo((0.5, 0.5, 0.0), keys))


HITACHI = "[SemImageFile]\r\nDataSize={size}\r\nPixelSize={number}\r\n"
JEOL = "$CM_FULL_SIZE {size}\r\n$$SM_MICRON_BAR {bar}\r\n$$SM_MICRON_MARKER {marker}\r\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("number", ["99.21875", "99,21875", "9.921875E+01", "9,921875e1", "99.21875 nm"])
def test_hitachi_s_text_in_any_writing(tmp_path: Path, encoding: str, number: str) -> None:
    (tmp_path / "sem.txt").write_bytes(HITACHI.format(size="30x20", number=number).encode(encoding))
    found = file_scale(saved(PIXELS), tmp_path / "sem.png")
    assert found is not None
    assert found.um_per_px == pytest.approx(0.09921875)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp932"])
@pytest.mark.parametrize("marker", ["50um", "50μm", "50 μm", "0,05mm", "5.0E+4 nm"])
def test_jeol_s_text_in_any_writing(tmp_path: Path, encoding: str, marker: str) -> None:
    (tmp_path / "sem.txt").write_bytes(JEOL.format(size="30 20", bar=64, marker=marker).encode(encoding))
    found = file_scale(saved(PIXELS), tmp_path / "sem.png")
    assert found is not None
    assert found.um_per_px == pytest.approx(0.78125)


def test_jeol_s_micro_sign_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "sem.txt").write_bytes(JEOL.format(size="30 20", bar=64, marker="50µm").encode("latin-1"))
    found = file_scale(saved(PIXELS), tmp_path / "sem.png")
    assert found is not None
    assert found.um_per_px == pytest.approx(0.78125)


@pytest.mark.parametrize(
    "text", [HITACHI.format(size="60x40", number=99.2), JEOL.format(size="60 40", bar=64, marker="50um")]
)
def test_a_text_of_another_size_of_picture_is_a_conflict(tmp_path: Path, text: str) -> None:
    (tmp_path / "sem.txt").write_text(text)
    with pytest.raises(ScaleConflict, match=r"sem\.txt is of a picture of 60 × 40 px, and this one has 30 × 20"):
        file_scale(saved(PIXELS), tmp_path / "sem.png")


@pytest.mark.parametrize("marker", ["50 furlong", "5-0um", "5x"])
def test_a_text_s_unit_that_is_not_known_is_named(tmp_path: Path, marker: str) -> None:
    (tmp_path / "sem.txt").write_text(JEOL.format(size="30 20", bar=64, marker=marker))
    with pytest.raises(ScaleError, match=re.escape(marker)):
        file_scale(saved(PIXELS), tmp_path / "sem.png")


RIGHT = {
    "geotiff_half_mm.tif": 500,
    "geotiff_half_mm_with_dpi.tif": 500,
    "ij_micrometer.tif": 0.5,
    "ij_millimeter.tif": 0.5,
    "ij_inches.tif": 0.5,
    "ome_angstrom.ome.tif": 0.5,
    "ome_in.ome.tif": 0.5,
    "ome_dm.ome.tif": 0.5,
    "sem/hit_utf16.tif": 0.4960938,
    "sem/hit_comma.tif": 0.4960938,
    "sem/hit_sci.tif": 0.4960938,
    "sem/jeol_um.tif": 0.78125,
    "sem/jeol_micro.tif": 0.78125,
    "absurd_res.tif": None,
    "sem/hit_small.tif": ScaleConflict,
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_shared_inputs(name: str) -> None:
    path = DATA / "inputs" / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the shared inputs are not part of the repository")
    right = RIGHT[name]
    if right is ScaleConflict:
        with pytest.raises(ScaleConflict):
            file_scale(path.read_bytes(), path)
        return
    found = file_scale(path.read_bytes(), path)
    assert (found and found.um_per_px) == (right and pytest.approx(right, rel=1e-6))


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
