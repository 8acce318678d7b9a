from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from grain_handler import errors
from grain_handler.wire.image import MAX_BYTES, MAX_SIDE, read_image
from tests.unit.handler.pictures import encoded, gradient

KINDS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")


@pytest.mark.parametrize("kind", KINDS)
def test_reads_every_kind(kind: str) -> None:
    settings = {"lossless": True} if kind == "WEBP" else {}
    decoded = read_image(encoded(gradient(), kind, **settings))
    assert (decoded.format, decoded.mode, decoded.warnings) == (kind, "RGB", ())
    tolerance = 12 if kind == "JPEG" else 0
    assert np.abs(decoded.pixels.astype(int) - gradient()).max() <= tolerance


def test_transparency_is_laid_over_white() -> None:
    rgba = np.dstack([gradient(), np.full((24, 32), 0, np.uint8)])
    rgba[:, 16:, 3] = 255
    pixels = read_image(encoded(rgba, "PNG")).pixels
    assert (pixels[:, :16] == 255).all()
    assert (pixels[:, 16:] == gradient()[:, 16:]).all()


def test_palette_with_a_transparent_colour() -> None:
    palette = Image.fromarray(gradient()).quantize(8)
    plain = read_image(encoded(palette, "PNG"))
    assert plain.mode == "P"
    assert (plain.pixels == np.asarray(palette.convert("RGB"))).all()
    index = np.asarray(palette)[0, 0]
    pixels = read_image(encoded(palette, "PNG", transparency=int(index))).pixels
    assert (pixels[np.asarray(palette) == index] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK"])
def test_other_pixel_types_become_rgb(mode: str) -> None:
    picture = Image.fromarray(gradient()).convert(mode)
    pixels = read_image(encoded(picture, "TIFF")).pixels
    assert (pixels == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_stretched_over_its_own_range(kind: str) -> None:
    grey = np.linspace(1000, 3000, 24 * 32).reshape(24, 32).astype(np.uint16)
    decoded = read_image(encoded(grey, kind))
    expected = np.rint((grey - 1000.0) / 2000 * 255)
    assert (decoded.pixels == expected[..., None]).all()
    assert decoded.warnings == ("grey levels 1000 to 3000 were stretched to 0 to 255",)


def test_flat_16_bit_image_does_not_divide_by_zero() -> None:
    assert (read_image(encoded(np.full((8, 8), 500, np.uint16), "PNG")).pixels == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    picture = Image.fromarray(gradient())
    exif = picture.getexif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if kind == "WEBP" else {}
    decoded = read_image(encoded(picture, kind, exif=exif, **settings)).pixels
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= (12 if kind == "JPEG" else 0)


def test_mpo_of_a_phone_is_its_first_frame() -> None:
    first, second = Image.fromarray(gradient()), Image.fromarray(gradient(12, 16))
    decoded = read_image(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert decoded.pixels.shape == (24, 32, 3)


@pytest.mark.parametrize(("height", "width"), [(1024, 1024), (1, 1024), (1, 1)])
def test_the_limit_itself_is_allowed(height: int, width: int) -> None:
    assert read_image(encoded(np.zeros((height, width), np.uint8), "PNG")).pixels.shape == (height, width, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1025, 2), (2, 1025)])
def test_over_the_limit_is_refused_with_the_numbers(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(errors.ImageTooLarge, match=rf"{size[1]} × {size[0]} px.*{MAX_SIDE}"):
        read_image(encoded(np.zeros(size, np.uint8), kind))


def _png_header(width: int, height: int) -> bytes:
    """Makes a PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    signature, start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13), struct.pack(">I", 1000) + b"IDAT"
    return signature + chunk + struct.pack(">I", zlib.crc32(chunk)) + start


def test_the_size_is_refused_from_the_header_alone() -> None:
    with pytest.raises(errors.ImageTooLarge):
        read_image(_png_header(2000, 2000))


def test_decompression_bomb() -> None:
    with pytest.raises(errors.DecompressionBomb):
        read_image(_png_header(60_000, 60_000))


def test_text_chunk_bomb() -> None:
    whole = encoded(gradient(), "PNG")
    chunk = b"zTXt" + b"a\0\0" + zlib.compress(b" " * 80_000_000, 9)
    bomb = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(errors.DecompressionBomb):
        read_image(whole[:33] + bomb + whole[33:])


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    usual = encoded(np.zeros((1024, 1024, 3), np.uint8), "JPEG", progressive=True)
    assert read_image(usual).pixels.shape == (1024, 1024, 3)
    last = usual[usual.rindex(b"\xff\xda") : -2]
    with pytest.raises(errors.DecompressionBomb, match="scans"):  # 240 kB that would take half a minute
        read_image(usual[:-2] + last * 20_000 + usual[-2:])


def test_a_bmp_of_run_lengths_is_no_longer_than_an_image_needs() -> None:
    """Pillow reads run lengths in Python, byte by byte."""
    header = bytearray(encoded(np.zeros((1024, 1024), np.uint8), "BMP")[: 54 + 1024])
    header[30:34] = (1).to_bytes(4, "little")
    rows = (b"\xff\7" * 4 + b"\4\7" + b"\0\0") * 1024
    assert (read_image(bytes(header) + rows + b"\0\1").pixels == 7).all()
    with pytest.raises(errors.DecompressionBomb, match="run lengths"):
        read_image(bytes(header) + rows + bytes(3 * 2**20))


PARTS: dict[str, Callable[[bytes], bytes]] = {
    "PNG": lambda file: file[:33] + _png_chunk(b"prVt") * 1_500_000 + file[33:],
    "JPEG": lambda file: file[:2] + b"\xff\xfe\0\2" * 4_000_000 + file[2:],
    "TIFF": lambda file: _tiff_pages(file, 60_000),
}


@pytest.mark.timeout(20)  # 5 to 150 s without the limit
@pytest.mark.parametrize("kind", PARTS)
def test_millions_of_parts_are_not_walked_through(kind: str) -> None:
    with pytest.raises(errors.DecompressionBomb, match="parts"):
        read_image(PARTS[kind](encoded(gradient(), kind)))


def _png_chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _tiff_pages(file: bytes, pages: int) -> bytes:
    """Repeats a TIFF's directory, each pointing to the next."""
    (first,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, first)
    size = 2 + 12 * count
    directory = file[first : first + size]
    chained = b"".join(directory + struct.pack("<I", len(file) + (page + 1) * (size + 4)) for page in range(pages - 1))
    head = file[: first + size] + struct.pack("<I", len(file)) + file[first + size + 4 :]
    return head + chained + directory + bytes(4)


def test_a_profile_that_explodes_is_not_kept() -> None:
    file = encoded(gradient(), "PNG")
    bomb = _png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    with pytest.raises(errors.DecompressionBomb):
        read_image(file[:33] + bomb + file[33:])


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_several_pages_or_frames_are_refused(kind: str) -> None:
    pages = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (0, 128, 255)]
    with pytest.raises(errors.MultiplePages, match="3"):
        read_image(encoded(pages[0], kind, save_all=True, append_images=pages[1:]))


def test_empty() -> None:
    with pytest.raises(errors.EmptyBody):
        read_image(b"")


def test_too_many_bytes() -> None:
    with pytest.raises(errors.TooManyBytes):
        read_image(b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES))


@pytest.mark.parametrize("data", [b"hello, world", b"\0" * 100, b"{}", b"R", b"RIFF1234WAVE"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(errors.NotAnImage):
        read_image(data)


@pytest.mark.parametrize("data", [encoded(gradient(), "GIF"), b"%PDF-1.7 ...", b"\0\0\0\x18ftypheic"])
def test_formats_that_are_not_read_are_named(data: bytes) -> None:
    with pytest.raises(errors.UnsupportedFormat, match="not read: send PNG"):
        read_image(data)


FILES = {kind: encoded(gradient(), kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_in_the_middle(kind: str) -> None:
    data = FILES[kind]
    with pytest.raises(errors.TruncatedImage, match=kind):
        read_image(data[: len(data) // 2])


changes = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # for a damaged TIFF that it reads
@given(kind=st.sampled_from(KINDS), cut=st.floats(0, 1), flips=changes)
def test_damage_is_refused_or_survived_but_nothing_else(kind: str, cut: float, flips: list[tuple[float, int]]) -> None:
    data = bytearray(FILES[kind])
    for place, change in flips:
        data[int(place * (len(data) - 1))] ^= change
    with contextlib.suppress(errors.RequestError):
        decoded = read_image(bytes(data[: 1 + int(cut * len(data))]))
        assert decoded.pixels.dtype == np.uint8
        assert decoded.pixels.shape[2] == 3
