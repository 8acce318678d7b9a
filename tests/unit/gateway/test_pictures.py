"""Previews and tiles over HTTP."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile
from PIL import Image

from grainserve import admission
from grainserve.gateway import pictures
from grainserve.gateway.keys import Caller
from grainserve.gateway.service import Limits
from grainserve.images import display_pixels
from grainserve.pictures.album import Album, File, Form
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import failure, keys

NOBODY = "0" * 32


def deep_tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, (np.arange(64 * 48, dtype=np.uint16) * 7).reshape(48, 64))
    return file.getvalue()


def turned_jpeg() -> bytes:
    file = io.BytesIO()
    image = Image.open(io.BytesIO(png()))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(("image", "size"), [(deep_tiff(), (64, 48)), (turned_jpeg(), (48, 64))])
def test_a_preview_shows_what_is_measured_before_the_job_is_done(
    gateway: Gateway, image: bytes, size: tuple[int, int]
) -> None:
    image_id = gateway.upload(image)
    answer = gateway.ask("GET", f"/images/{image_id}/preview?format=png")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Image-Size"] == f"{size[0]}x{size[1]}"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.array_equal(shown, display_pixels(image))


def test_a_preview_is_webp_of_the_side_asked_for(gateway: Gateway) -> None:
    answer = gateway.ask("GET", f"/images/{gateway.upload(png())}/preview?side=32")
    assert answer.headers["Content-Type"] == "image/webp"
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size, answer.headers["X-Image-Size"]) == ("WEBP", (32, 24), "64x48")


@pytest.mark.parametrize("path", ["preview", "preview?side=32", "tiles", "tiles/0/0/0"])
def test_what_a_browser_has_is_not_sent_again(gateway: Gateway, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"/images/{gateway.upload(png())}/{path}"
    first = gateway.ask("GET", url)
    assert first.headers["Cache-Control"] == "private, no-cache"
    monkeypatch.setattr(admission, "check_any", None)  # nothing is decoded
    again = gateway.ask("GET", url, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])


def test_other_pictures_have_other_tags(gateway: Gateway) -> None:
    ids = [gateway.upload(png()), gateway.upload(png(32, 32))]
    paths = ["preview", "preview?side=32", "preview?format=png", "tiles", "tiles/0/0/0"]
    tags = [gateway.ask("GET", f"/images/{image_id}/{path}").headers["ETag"] for image_id in ids for path in paths]
    assert len(set(tags)) == len(tags)


def test_tiles(gateway: Gateway) -> None:
    image = png(900, 600)
    at = f"/images/{gateway.upload(image)}/tiles"
    assert gateway.ask("GET", at).json() == {"width": 900, "height": 600, "tileSide": 512, "levels": 2}
    sizes = {
        place: Image.open(io.BytesIO(gateway.ask("GET", f"{at}/{place}").content)).size
        for place in ("0/0/0", "1/0/0", "1/1/1")
    }
    assert sizes == {"0/0/0": (450, 300), "1/0/0": (512, 512), "1/1/1": (388, 88)}
    for place in ("2/0/0", "1/2/0", "1/0/2", "-1/0/0", "1/-1/0"):
        assert failure(gateway.ask("GET", f"{at}/{place}"), 404) == "tile_not_found"


@pytest.mark.parametrize("path", ["preview", "tiles", "tiles/0/0/0"])
def test_another_callers_pictures_do_not_exist(start: Start, path: str) -> None:
    known, (mine_key, other_key) = keys(Caller("lab-a"), Caller("lab-b"))
    gateway = start(keys=known)
    url = f"/images/{gateway.upload(png(), mine_key)}/{path}"
    mine = gateway.ask("GET", url, mine_key)
    assert mine.status_code == 200
    theirs = gateway.ask("GET", url, other_key, headers={"If-None-Match": mine.headers["ETag"]})
    assert failure(theirs, 404) == "image_not_found"
    assert failure(gateway.ask("GET", url), 401) == "unauthorized"
    assert failure(gateway.ask("GET", f"/images/{NOBODY}/{path}", mine_key), 404) == "image_not_found"


@pytest.mark.parametrize("path", ["preview", "tiles", "tiles/0/0/0"])
def test_a_deleted_image_has_no_pictures(gateway: Gateway, path: str) -> None:
    image_id = gateway.upload(png())
    assert gateway.ask("GET", f"/images/{image_id}/{path}").status_code == 200
    gateway.ask("DELETE", f"/image-analysis?imageId={image_id}")
    assert failure(gateway.ask("GET", f"/images/{image_id}/{path}"), 404) == "image_not_found"


@pytest.mark.parametrize("query", ["side=15", "side=2049", "side=big", "format=gif", "size=20"])
def test_a_preview_that_cannot_be_is_refused(gateway: Gateway, query: str) -> None:
    failure(gateway.ask("GET", f"/images/{gateway.upload(png())}/preview?{query}"), 422)


def test_an_image_that_is_none_has_no_picture(gateway: Gateway) -> None:
    """A job that was submitted past the gateway may hold anything."""
    image_id = gateway.service.store.submit(
        b"no image", model="sam_tiny", version=None, options={}, submitter=gateway.service.keys.caller(None).name
    )
    assert failure(gateway.ask("GET", f"/images/{image_id}/preview"), 415) == "not_an_image"
    file = png()
    image_id = gateway.upload(file[: len(file) // 2])
    assert failure(gateway.ask("GET", f"/images/{image_id}/preview"), 415) == "truncated_image"


class Held:
    """Pictures that come to their end only when they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()
        checked = admission.check_any

        def held(data: bytes) -> Any:
            with self._lock:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            self.begun.release()
            self.go.wait(60)
            with self._lock:
                self.at_once -= 1
            return checked(data)

        monkeypatch.setattr(admission, "check_any", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    made = Held(monkeypatch)
    yield made
    made.go.set()


def test_pictures_under_way_are_bounded_in_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(limits=Limits(read_bytes=1_000_000))
    url = f"/images/{gateway.upload(png())}/preview"
    large = File(b"x" * 30_000_000, Form.WEBP, (64, 48))
    monkeypatch.setattr(Album, "preview", lambda *_: large)
    where = urlsplit(gateway.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as slow:
        slow.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert slow.recv(12) == b"HTTP/1.1 200"
        assert failure(gateway.ask("GET", url), 503) == "busy"
    while (answer := gateway.ask("GET", url)).status_code == 503:
        pass
    assert (answer.content, answer.headers["Content-Type"]) == (large.data, "image/webp")


def asked(gateway: Gateway, paths: list[str], key: str | None = None) -> tuple[list[threading.Thread], list[int]]:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda path=path: statuses.append(gateway.ask("GET", path, key).status_code))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    return threads, statuses


def test_two_pictures_are_made_at_once_and_others_wait_without_a_thread(gateway: Gateway, held: Held) -> None:
    image_id = gateway.upload(png())
    threads, statuses = asked(gateway, [f"/images/{image_id}/preview?side={side}" for side in range(20, 30)])
    for _ in range(pictures.AT_ONCE):
        assert held.begun.acquire(timeout=60)
    assert gateway.ask("GET", f"/image-analysis?imageId={image_id}").status_code == 202
    held.go.set()
    for thread in threads:
        thread.join()
    assert (statuses, held.most) == ([200] * 10, pictures.AT_ONCE)


def test_one_keys_pictures_leave_places_for_others(start: Start, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WAITING", 2)
    known, (key, other) = keys(Caller("lab-a"), Caller("lab-b"))
    gateway = start(keys=known)
    mine, theirs = gateway.upload(png(), key), gateway.upload(png(), other)
    threads, statuses = asked(gateway, [f"/images/{mine}/preview"], key)
    assert held.begun.acquire(timeout=60)
    refused = gateway.ask("GET", f"/images/{mine}/preview?side=20", key)
    assert (failure(refused, 503), refused.headers["Retry-After"]) == ("busy", "1")
    more, others = asked(gateway, [f"/images/{theirs}/preview"], other)
    assert held.begun.acquire(timeout=60)
    held.go.set()
    for thread in (*threads, *more):
        thread.join()
    assert (statuses, others) == ([200], [200])
