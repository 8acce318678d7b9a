"""Previews and tiles as files."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from grainserve import admission
from grainserve.errors import ImageRejected
from grainserve.images import display_pixels
from grainserve.pictures import pyramid
from grainserve.pictures.album import Album, Form, Original, TileNotFound
from grainserve.reading.picture import Header, Picture


def image_file(width: int, height: int) -> bytes:
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 // (height + width)
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).convert("RGB").save(file, "PNG")
    return file.getvalue()


class Source:
    """An image in storage that counts how often it is read."""

    def __init__(self, data: bytes, key: str = "a") -> None:
        self.reads = 0
        self.original = Original(key, self.read)
        self._data = data

    def read(self) -> bytes:
        self.reads += 1
        return self._data


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Header]:
    """Returns a list that gets the header of each image that is decoded."""
    times: list[Header] = []
    decoded = pyramid.decoded

    def counting(data: bytes, header: Header) -> Picture:
        times.append(header)
        return decoded(data, header)

    monkeypatch.setattr(pyramid, "decoded", counting)
    return times


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_picture_is_made_once() -> None:
    source, album = Source(image_file(900, 700)), Album()
    first = album.preview(source.original, 300, Form.WEBP)
    assert album.preview(source.original, 300, Form.WEBP) is first
    assert source.reads == 1
    assert (opened(first.data).size, first.size) == ((300, 233), (900, 700))
    again = album.preview(source.original, 300, Form.PNG)
    assert (opened(first.data).format, opened(again.data).format) == ("WEBP", "PNG")


def test_a_png_of_full_size_has_the_images_pixels() -> None:
    data = image_file(900, 700)
    made = Album().preview(Source(data).original, 1024, Form.PNG)
    assert np.array_equal(np.asarray(opened(made.data)), display_pixels(data))


def test_all_tiles_of_a_large_image_need_one_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    source, album, times = Source(image_file(1500, 1100)), Album(), counted(monkeypatch)
    assert album.size(source.original) == ((1500, 1100), 3)
    places = [(2, column, row) for column in range(3) for row in range(3)]
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda place: album.tile(source.original, *place), places))
    assert len(times) == 1
    assert opened(tiles[0].data).size == (512, 512)
    assert opened(tiles[-1].data).size == (1500 - 1024, 1100 - 1024)


def test_requests_at_the_same_time_decode_a_large_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source, album, times = Source(image_file(1500, 100)), Album(), counted(monkeypatch)
    both, checked = threading.Barrier(2), admission.check_any
    monkeypatch.setattr(admission, "check_any", lambda data: (both.wait(60), checked(data))[1])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda column: album.tile(source.original, 2, column, 0), range(2)))
    assert len(times) == 1


def test_no_more_is_kept_than_allowed() -> None:
    album = Album(files=20_000, pixels=8 * 10**6)
    sizes = []
    for number in range(6):
        source = Source(image_file(1300 + number, 1000), key=str(number))
        for row in range(2):
            album.tile(source.original, 2, 0, row)
        sizes.append(album.nbytes)
    assert max(sizes) <= 20_000 + 8 * 10**6
    assert any(later > earlier for earlier, later in pairwise(sizes)), "something is kept"


def test_what_cannot_be_decoded_is_told() -> None:
    with pytest.raises(ImageRejected) as none:
        Album().preview(Source(b"no image").original, 300, Form.PNG)
    assert (none.value.status, none.value.code) == (415, "not_an_image")
    with pytest.raises(ImageRejected) as broken:
        Album().preview(Source(image_file(900, 700)[:-3000]).original, 300, Form.PNG)
    assert (broken.value.status, broken.value.code) == (415, "truncated_image")


def test_a_tile_that_is_not_there_is_told() -> None:
    with pytest.raises(TileNotFound, match="no tile 0/1/0"):
        Album().tile(Source(image_file(90, 70)).original, 0, 1, 0)
