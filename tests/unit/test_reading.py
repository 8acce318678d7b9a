"""Handler and client read the same, right pixels from a file."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmarks.readers import case
from benchmarks.tiff_kinds import FORMS, LAYOUTS, PACKINGS, kinds, pixels
from grain_handler import errors
from grain_handler.wire.image import DecodedImage, read_image
from grainserve.errors import InvalidImage
from grainserve.images import ImageFile, check_image
from tests.unit.handler.pictures import encoded, gradient

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ROOT.parent / "shared/data/inputs"


def tiff(array: NDArray[Any], **words: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **words)
    return file.getvalue()


def both(data: bytes) -> DecodedImage:
    """Reads a file with the handler, and compares the client's pixels with it."""
    seen = read_image(data)
    file = ImageFile(data)
    kind, mine = file.format, file.picture
    np.testing.assert_array_equal(mine.pixels, seen.pixels)
    assert (kind, mine.mode, mine.warnings) == (seen.format, seen.mode, seen.warnings)
    return seen


def refused(data: bytes) -> errors.RequestError:
    """Returns the handler's refusal, after comparing the client's with it."""
    with pytest.raises(errors.RequestError) as failure:
        read_image(data)
    with pytest.raises(InvalidImage) as mine:
        ImageFile(data).picture  # noqa: B018 - reads it
    assert str(mine.value) == str(failure.value)
    return failure.value


def test_handler_and_client_hold_the_same_modules() -> None:
    theirs, ours = (ROOT / each / "reading" for each in ("handler/grain_handler", "client/grainserve"))
    names = {path.name for path in theirs.glob("*.py")}
    assert names == {path.name for path in ours.glob("*.py")}
    for name in names:
        expected = (theirs / name).read_text("utf-8").replace("from grain_handler.", "from grainserve.")
        assert (ours / name).read_text("utf-8") == expected, f"copy {theirs / name} into {ours}"


def test_no_kind_of_tiff_is_read_wrongly_or_called_damaged() -> None:
    """It has one compression for each type and layout; `python -m benchmarks.readers` runs them all."""
    cases = [case(kind) for kind in kinds(("Deflate, predictor",))]
    assert [each for each in cases if each["equal"] is False] == []
    refusals = {each["why"] for each in cases if each["outcome"] == "refused"}
    assert [each for each in refusals if not re.search(r"\d × u?(int|float)\d+ .*(convert|save) ", each)] == []
    assert len([each for each in cases if each["outcome"] == "read"]) > 300


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packing", ["none", "lzw"])
@pytest.mark.parametrize("layout", ["RGB", "CMYK"])
def test_planes_apart_are_the_picture_that_lies_together(layout: str, packing: str, form: str) -> None:
    samples, words = LAYOUTS[layout]
    array = pixels(samples, "uint16")
    together = both(tiff(array, **words, planarconfig="contig"))
    apart = np.moveaxis(array, 2, 0)
    given = both(tiff(apart, **words, **FORMS[form], planarconfig="separate", compression=packing))
    np.testing.assert_array_equal(given.pixels, together.pixels)


# Stretch --------------------------------------------------------------------------------------------------------------


def deep(height: int = 64, width: int = 80) -> NDArray[np.uint16]:
    return np.linspace(1000, 3000, height * width).reshape(height, width).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("level", [0, 65_535])
def test_a_hot_or_dead_pixel_changes_no_other(kind: str, level: int) -> None:
    plain = both(encoded(deep(), kind))
    spoilt = deep()
    spoilt[7, 9] = level
    seen = both(encoded(spoilt, kind))
    others = np.ones(spoilt.shape, bool)
    others[7, 9] = False
    np.testing.assert_array_equal(seen.pixels[others], plain.pixels[others])
    assert (seen.pixels[7, 9] == (255 if level else 0)).all()
    assert plain.warnings == ("grey levels 1000 to 3000 were stretched to 0 to 255",)
    assert "1 values beyond were cut to these" in seen.warnings[0]


@pytest.mark.parametrize("nodata", [-9999.0, float(np.finfo(np.float32).min), float("nan"), 0.5])
def test_nodata_is_no_grey_level(nodata: float) -> None:
    levels = deep().astype(np.float32)
    plain = both(tiff(levels)).pixels.copy()
    levels[10:20, 5:15] = nodata
    plain[10:20, 5:15] = 0
    seen = both(tiff(levels, extratags=[(42113, "s", 0, repr(nodata), True)]))
    np.testing.assert_array_equal(seen.pixels, plain)
    assert any("100 pixels have no value" in warning for warning in seen.warnings)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_grey_level(hole: float) -> None:
    levels = deep().astype(np.float64)
    plain = both(tiff(levels)).pixels.copy()
    levels[3, 3], plain[3, 3] = hole, 0
    seen = both(tiff(levels))
    np.testing.assert_array_equal(seen.pixels, plain)
    assert any("1 pixels have no value" in warning for warning in seen.warnings)
    assert "NaN" in str(refused(tiff(np.full((8, 8), hole))))


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_nodata_in_one_channel_is_no_level(dtype: str) -> None:
    levels = (deep()[..., None] + np.array([0, 5, 9])).astype(dtype)
    plain = both(tiff(levels, photometric="rgb")).pixels.copy()
    levels[10:20, 5:15, 1], plain[10:20, 5:15, 1] = -9999, 0
    seen = both(tiff(levels, photometric="rgb", extratags=[(42113, "s", 0, "-9999", True)]))
    np.testing.assert_array_equal(seen.pixels, plain)


def test_a_nodata_that_no_pixel_can_hold_is_none() -> None:
    tag = [(42113, "s", 0, "-9999", True)]
    assert len(both(tiff(deep(), extratags=tag)).warnings) == 1


def test_a_stretch_that_leaves_most_pixels_alike_is_told() -> None:
    levels = np.random.default_rng(3).integers(100, 110, (64, 80)).astype(np.uint16)
    assert len(both(tiff(levels)).warnings) == 1
    levels[:4] = 60_000  # such as a databar
    assert any("256 levels" in warning for warning in both(tiff(levels)).warnings)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("layout", ["RGB", "RGB + alpha", "grey + alpha"])
def test_12_bits_of_a_camera_in_16_are_seen(kind: str, layout: str) -> None:
    samples, words = LAYOUTS[layout]
    array = (pixels(samples, "uint16") >> 4).astype(np.uint16)
    if "alpha" in layout:
        array[..., -1] = 65_535
    data = tiff(array, **words) if kind == "TIFF" else png16(array)
    seen = both(data)
    colours = array[..., : 3 if samples > 2 else 1].astype(float)
    expected = np.rint((colours - colours.min()) / (colours.max() - colours.min()) * 255)
    np.testing.assert_array_equal(seen.pixels, np.broadcast_to(expected, seen.pixels.shape))
    what = "grey levels" if samples == 2 else "colour levels"
    assert seen.warnings[0].startswith(f"{what} {colours.min():g} to {colours.max():g} were stretched")


def png16(array: NDArray[np.uint16]) -> bytes:
    """Makes a 16-bit PNG whose rows use each of PNG's filters; Pillow writes none in colour."""
    height, width, samples = array.shape
    raw = np.ascontiguousarray(array.astype(">u2")).view(np.uint8).reshape(height, -1)
    rows, last, step = [], np.zeros(raw.shape[1], np.int64), 2 * samples
    for number, line in enumerate(raw.astype(np.int64)):
        left, above = np.concatenate([np.zeros(step, np.int64), line[:-step]]), last
        corner = np.concatenate([np.zeros(step, np.int64), last[:-step]])
        guess = left + above - corner
        far = np.abs(np.stack([guess - left, guess - above, guess - corner]))
        paeth = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner))
        predicted = (0 * left, left, above, (left + above) // 2, paeth)[number % 5]
        rows.append(bytes([number % 5]) + ((line - predicted) % 256).astype(np.uint8).tobytes())
        last = line
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(b"".join(rows)), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@given(
    dtype=st.sampled_from(["int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float64"]),
    levels=st.lists(st.floats(-1, 1), min_size=2, max_size=40),
    white=st.booleans(),
)
def test_the_order_of_grey_levels_is_kept(dtype: str, levels: list[float], white: bool) -> None:
    unit = np.array([levels])
    limits = None if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    array = (unit if limits is None else limits.min / 2 + (unit + 1) * (limits.max / 4)).astype(dtype)
    seen = both(tiff(array, photometric="miniswhite" if white else "minisblack")).pixels[0, :, 0].astype(int)
    order = np.argsort(array[0], kind="stable")
    steps = np.diff(seen[order]) * (-1 if white else 1)
    assert (steps >= 0).all()
    if array.min() < array.max():
        assert {seen.min(), seen.max()} == {0, 255}


# Pages ----------------------------------------------------------------------------------------------------------------


def paged(*pages: tuple[NDArray[Any], int], **words: Any) -> bytes:
    """Makes a TIFF of pages, each with its NewSubfileType."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **words) as writer:
        for array, subfile in pages:
            writer.write(
                array, subfiletype=subfile, metadata=None, photometric="rgb" if array.ndim == 3 else "minisblack"
            )
    return file.getvalue()


@pytest.mark.parametrize("words", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("first", [True, False])
def test_reduced_copies_and_masks_are_no_pages(words: dict[str, Any], dtype: str, first: bool) -> None:
    image = pixels(3, dtype)
    others = [(image[::2, ::2], 1), (image[::4, ::4], 1), (image[..., 0] > 99, 4)]
    data = paged(*([(image, 0), *others] if first else [*others, (image, 0)]), **words)
    np.testing.assert_array_equal(both(data).pixels, both(paged((image, 0))).pixels)


def test_an_image_below_a_thumbnail_is_refused_and_the_thumbnail_not_taken_for_it() -> None:
    image, file = pixels(3, "uint8"), io.BytesIO()
    with tifffile.TiffWriter(file) as writer:  # as in DNG and NEF
        writer.write(image[::4, ::4], subfiletype=1, subifds=1, photometric="rgb", metadata=None)
        writer.write(image, photometric="rgb", metadata=None)
    error = refused(file.getvalue())
    assert (error.code, "raw files" in str(error)) == ("unsupported_format", True)


@pytest.mark.parametrize("second", [0, 2])
def test_two_images_are_two(second: int) -> None:
    image = pixels(3, "uint8")
    error = refused(paged((image, 0), (image[::2, ::2], second), (image[::4, ::4], 1)))
    assert (error.code, "2 pages" in str(error)) == ("multiple_pages", True)


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "words", "named"),
    [
        (pixels(5, "uint8"), {"photometric": "minisblack", "planarconfig": "contig"}, "5 bands"),
        (pixels(5, "float32"), {"photometric": "minisblack", "planarconfig": "contig"}, "5 bands"),
        (pixels(2, "uint16"), {"photometric": "minisblack", "extrasamples": ["unspecified"]}, "2 bands"),
        (np.zeros((8, 8), np.complex64), {}, "complex"),
        (pixels(3, "uint16"), {"photometric": "cielab"}, "L*a*b*"),
        (pixels(1, "uint16")[..., 0], {"compression": "jpeg2000"}, "JPEG 2000"),
        (pixels(1, "float32")[..., 0], {"compression": "lerc"}, "LERC"),
        (
            np.zeros((4, 16, 16), np.uint16),
            {"photometric": "minisblack", "volumetric": True, "tile": (16, 16, 16)},
            "4 slices",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_named_by_its_header(array: NDArray[Any], words: dict[str, Any], named: str) -> None:
    data = tiff(array, **words)
    error = refused(data)
    assert named in str(error)
    assert error.code in ("unsupported_format", "multiple_pages")
    with pytest.raises(InvalidImage, match="TIFF"):
        check_image(data)  # already at upload


@pytest.mark.parametrize(
    ("tag", "values", "named"),
    [
        ("BitsPerSample", (32, 16, 32), "float32, float16, float32"),
        ("SampleFormat", (1, 1, 3), "uint32, uint32, float32"),
    ],
)
def test_channels_of_different_types_are_named(tag: str, values: tuple[int, ...], named: str) -> None:
    data = bytearray(tiff(pixels(3, "float32"), photometric="rgb"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<3H", data, file.pages.first.tags[tag].valueoffset, *values)
    assert f"({named})" in str(refused(bytes(data)))


def test_a_jpeg_of_12_bits_is_named() -> None:
    jpeg = encoded(gradient(), "JPEG")
    place = jpeg.index(b"\xff\xc0") + 4
    error = refused(jpeg[:place] + b"\x0c" + jpeg[place + 1 :])
    assert (error.code, "12 bits" in str(error)) == ("unsupported_format", True)


@pytest.mark.parametrize("packing", ["none", "lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_deep_tiff_that_is_cut_short_is_not_filled_up(packing: str, dtype: str) -> None:
    data = tiff(pixels(3, dtype), photometric="rgb", compression=packing)
    assert refused(data[: len(data) - 200]).code == "truncated_image"


def test_strips_that_lie_on_each_other_are_not_unpacked_again_and_again() -> None:
    data = bytearray(tiff(np.zeros((1024, 64), np.uint16), compression="zlib", rowsperstrip=1))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages.first.tags
        places, counts = tags["StripOffsets"], tags["StripByteCounts"]
        struct.pack_into(f"<{places.count}I", data, places.valueoffset, *[8] * places.count)
        shorts = "I" if counts.dtype == 4 else "H"
        struct.pack_into(f"<{counts.count}{shorts}", data, counts.valueoffset, *[len(data) // 2] * counts.count)
    assert "lie on each other" in str(refused(bytes(data)))


def test_a_tile_is_not_much_larger_than_its_image() -> None:
    data = tiff(pixels(1, "uint16")[..., 0], tile=(4096, 4096), compression="zlib")
    assert "4096 × 4096" in str(refused(data))


# What docs/inputs.md says ---------------------------------------------------------------------------------------------

BITS = {"1, 2, 4 bits": (1, 2, 4), "3, 5, 6, 7 bits": (3, 5, 6, 7), "9 to 15 bits": tuple(range(9, 16))}
PAGE = (ROOT / "docs/inputs.md").read_text("utf-8")


def table(heading: str) -> dict[tuple[str, str], str]:
    """Returns the cells of the table under a heading, by row and column."""
    lines = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    (_, *columns), _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|")
    return {(row[0], column): cell for row in rows for column, cell in zip(columns, row[1:], strict=True)}


def of_kind(layout: str, dtype: str | int, **words: Any) -> bytes:
    """Makes a TIFF of a layout and a pixel type, given by name or by a number of bits."""
    samples, more = LAYOUTS[layout]
    name = dtype if isinstance(dtype, str) else "uint8" if dtype < 8 else "uint16"
    array = pixels(samples, name)
    if isinstance(dtype, int):
        array, words = array >> (8 * array.itemsize - dtype), {**words, "bitspersample": dtype}
    planes = {"planarconfig": "contig"} if samples > 1 else {}
    return tiff(array[..., 0] if samples == 1 else array, **more, **planes, **words)


def outcome(data: bytes) -> str:
    try:
        check_image(data)
    except InvalidImage:
        refused(data)
        return "refused"
    return "stretched" if any("were stretched" in said for said in both(data).warnings) else "as it is"


@pytest.mark.parametrize(("cell", "said"), table("TIFF by pixel type").items(), ids=str)
def test_the_page_says_which_pixel_types_are_read(cell: tuple[str, str], said: str) -> None:
    layout, column = cell
    named = re.sub(r"int8 to int64", "int8, int16, int32, int64", column).split(", ")
    for dtype in BITS.get(column, named):
        assert outcome(of_kind(layout, dtype)) == said


def test_the_page_names_every_layout_and_compression() -> None:
    assert {row for row, _ in table("TIFF by pixel type")} == set(LAYOUTS)
    assert {row for row, _ in table("TIFF by compression")} == set(PACKINGS)


@pytest.mark.parametrize("layout", ["grey", "RGB"])
@pytest.mark.parametrize(("cell", "said"), table("TIFF by compression").items(), ids=str)
def test_the_page_says_which_compressions_are_read(cell: tuple[str, str], said: str, layout: str) -> None:
    packing, column = cell
    for dtype in ("uint8",) if "8 bits" in column else ("uint16", "int8", "float32"):
        if said == "read":
            assert outcome(of_kind(layout, dtype, **PACKINGS[packing])) != "refused"
        else:  # not every type can be written
            data = bytearray(of_kind(layout, dtype))
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                place = file.pages.first.tags["Compression"].valueoffset
            struct.pack_into("<H", data, place, tifffile.COMPRESSION[PACKINGS[packing]["compression"].upper()])
            assert f"compression {packing} of" in str(refused(bytes(data)))
            with pytest.raises(InvalidImage):
                check_image(bytes(data))


def test_the_committed_cases_are_those_that_the_page_counts() -> None:
    cases = json.loads((ROOT / "benchmarks/results/readers.json").read_text("utf-8"))
    read = sum(each["outcome"] == "read" for each in cases)
    assert [each for each in cases if each["equal"] is False] == []
    counted = f"Of {len(cases)} files, {read} are read and equal, {len(cases) - read} are refused"
    assert counted in " ".join(PAGE.split())


# The inputs of ../shared/data -----------------------------------------------------------------------------------------

AS_PLAIN = (
    *(
        "rgb16_planar",
        "rgb12in16_contig",
        "grey16_hot_pixel",
        "float_nodata_9999",
        "grey16_miniswhite",
        "grey8_miniswhite",
    ),
    *("grey_int8", "grey_uint32", "grey_float64", "rgb_float32", "cog_like_overviews", "with_thumbnail"),
)


def given_input(name: str) -> bytes:
    path = INPUTS / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path.read_bytes()


@pytest.mark.parametrize("name", AS_PLAIN)
def test_the_picture_in_another_form_shows_the_same_grains(name: str) -> None:
    plain = both(given_input("plain.png")).pixels.mean(axis=2)
    seen = both(given_input(f"{name}.tif"))
    grains, same = ((each > (each.min() + each.max()) / 2) for each in (plain, seen.pixels.mean(axis=2)))
    assert (grains & same).sum() / (grains | same).sum() > 0.9
    assert bool(seen.warnings) == (name not in ("grey8_miniswhite", "cog_like_overviews", "with_thumbnail"))


def test_a_hot_pixel_leaves_the_mosaic_as_it_is() -> None:
    plain, hot = (both(given_input(name)).pixels for name in ("poly12.tif", "poly12_hot.tif"))
    assert (plain != hot).any(axis=2).sum() <= 4


def test_five_bands_are_named() -> None:
    assert "5 bands" in str(refused(given_input("five_bands_uint8.tif")))


def test_the_deep_picture_of_pillow_is_upright() -> None:
    """Orientation is a tag in TIFF and a chunk in PNG; each reader of deep files applies its own."""
    grey = deep(3, 5)
    for orientation in range(1, 9):
        picture = Image.fromarray(grey)
        exif = picture.getexif()
        exif[0x0112] = orientation
        expected = both(encoded(Image.fromarray((grey // 256).astype(np.uint8)), "PNG", exif=exif)).pixels.shape
        png, as_tiff = both(encoded(picture, "PNG", exif=exif)), both(encoded(picture, "TIFF", exif=exif))
        np.testing.assert_array_equal(png.pixels, as_tiff.pixels)
        assert png.pixels.shape == expected
