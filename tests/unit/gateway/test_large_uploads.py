"""Images over 1024 px, uploaded and measured in tiles as one job."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.requests import Request

from grainserve import Client, Result
from grainserve.contract import validate_result
from grainserve.dispatch import large
from grainserve.dispatch.large import LargeImages, Wait
from grainserve.gateway.keys import Caller, Keys
from grainserve.gateway.uploads import Size
from grainserve.images import display_pixels
from grainserve.jobs.markers import Ticket
from grainserve.jobs.parts import Part
from grainserve.jobs.store import Claim
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.client.test_large_images import HEIGHT, TILES, WIDTH, find_bright
from tests.unit.client.test_large_images import pixels as pixels  # noqa: PLC0414 - a fixture
from tests.unit.client.test_large_images import truth as truth  # noqa: PLC0414 - a fixture
from tests.unit.client.tiles.truth import Truth
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import failure

MIB = 2**20
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def mosaic(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(autouse=True)
def segmenter(torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> FakeTorchServe:
    torchserve.result = find_bright  # type: ignore[method-assign]
    monkeypatch.setattr(large, "SOONEST", 0.02)
    monkeypatch.setattr(large, "FOR_EACH", 0.0)
    return torchserve


def test_a_large_image_becomes_one_result(start: Start, mosaic: bytes, truth: Truth) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(mosaic, params={"um_per_px": "2", "name": "section.png"})
    answer = gateway.until_done(image_id)
    assert answer.status_code == 200, answer.text
    validate_result(answer.json())
    metadata = answer.json()["metadata"]
    assert (metadata["imageId"], len(answer.json()["segmentedObjects"])) == (image_id, truth.labels.max())
    assert any("first look" in text for text in metadata["warnings"]), "auto is the default"
    listed = gateway.ask("GET", "/images").json()["images"]
    assert [(each["imageId"], each["name"], each["width"]) for each in listed] == [(image_id, "section.png", WIDTH)]
    overlay = gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=overlay")
    assert overlay.status_code == 200, overlay.text
    assert Image.open(io.BytesIO(overlay.content)).size[0] >= WIDTH


def test_a_clients_result_fetches_the_image_itself(start: Start, mosaic: bytes) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(mosaic)
    gateway.until_done(image_id)
    with Client(dispatch=False) as client:
        result = client.wait(image_id, timeout=60)
        for index in range(TILES):
            tile = Part.tile(image_id, result.metadata["tiles"]["overlap"] // 2, index).image_id
            client.store.delete(tile)
        assert isinstance(result, Result)
        assert np.array_equal(result.pixels(), display_pixels(mosaic))


def test_progress_is_told_in_tiles(gateway: Gateway, mosaic: bytes) -> None:
    image_id, store = gateway.upload(mosaic, params={"largest_grain": "128"}), gateway.service.store
    where = f"/image-analysis?imageId={image_id}"
    waiting = gateway.ask("GET", where).json()
    assert (waiting["state"], waiting["position"], "tiles" in waiting) == ("queued", 1, False)
    claim = store.claim(Ticket("web", image_id), "me")
    assert isinstance(claim, Claim)
    outcome = LargeImages(store).step(claim.job)
    assert isinstance(outcome, Wait)
    store.put_back(claim, outcome.tiles, 0.0)
    told = [gateway.ask("GET", where).json(), gateway.ask("GET", f"/images/{image_id}/about").json()]
    for each in told:
        assert (each["state"], each["tiles"]) == ("running", {"done": 0, "total": TILES})
    tile = store.claim(Ticket("web", Part.tile(image_id, 128, 0).image_id), "me")
    assert isinstance(tile, Claim)
    body = {"imageId": tile.job.image_id, "image": base64.b64encode(store.image(tile.job.image_id)).decode()}
    store.finish(tile, json.loads(find_bright(body)))
    assert gateway.ask("GET", where).json()["tiles"] == {"done": 1, "total": TILES}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"params": {"largest_grain": "90"}}, 90),
        ({"params": {"largest_grain": "auto"}}, "auto"),
        ({"params": {"largest_grain": ""}}, "auto"),
        ({"form": {"largest_grain": "90"}}, 90),
        ({"json": {"largest_grain": 90}}, 90),
        ({"json": {"largest_grain": None}}, "auto"),
        ({}, "auto"),
    ],
)
def test_the_largest_grain_goes_into_the_job(
    gateway: Gateway, mosaic: bytes, given: dict[str, Any], expected: object
) -> None:
    if "form" in given:
        answer = gateway.ask("POST", "/upload", files={"image": mosaic}, data=given["form"])
    elif "json" in given:
        body = {"image": base64.b64encode(mosaic).decode(), **given["json"]}
        answer = gateway.ask("POST", "/upload", json=body)
    else:
        answer = gateway.ask("POST", "/upload", data=mosaic, **given)
    assert answer.status_code == 202, answer.text
    assert gateway.service.store.job(answer.json()["imageId"]).options == {"largest_grain": expected}


@pytest.mark.parametrize("value", ["0", "385", "12.5", "-3", "large", "1_0", "٣"])
def test_a_largest_grain_that_cannot_be_is_refused(
    gateway: Gateway, mosaic: bytes, names: Callable[[], set[str]], value: str
) -> None:
    answer = gateway.ask("POST", "/upload", data=mosaic, params={"largest_grain": value})
    assert failure(answer, 422) == "invalid_option"
    assert "largest_grain" in answer.json()["error"]["message"]
    assert names() == set()


@pytest.mark.parametrize("value", [True, 12.5, [90], {"px": 90}, "90"])
def test_json_with_a_largest_grain_that_cannot_be_is_refused(gateway: Gateway, mosaic: bytes, value: object) -> None:
    body = {"image": base64.b64encode(mosaic).decode(), "largest_grain": value}
    assert failure(gateway.ask("POST", "/upload", json=body), 422) == "invalid_option"


def test_an_image_that_a_model_takes_whole_has_no_largest_grain(gateway: Gateway) -> None:
    image_id = gateway.upload(png(), params={"largest_grain": "90"})
    job = gateway.service.store.job(image_id)
    assert (job.options, job.is_large) == ({}, False)


def test_a_large_image_may_have_more_bytes(start: Start, mosaic: bytes) -> None:
    gateway = start(keys=Keys({}, Caller("web", max_bytes=len(mosaic) // 3)))
    gateway.upload(mosaic)
    small = png(512, 512)
    assert len(small) > len(mosaic) // 3
    assert failure(gateway.ask("POST", "/upload", data=small), 413) == "too_many_bytes"
    body = json.dumps({"image": base64.b64encode(mosaic).decode() + " " * 70_000})
    assert failure(gateway.ask("POST", "/upload", data=body, headers=JSON), 413) == "too_many_bytes"
    chunks = iter([mosaic[:1000], mosaic[1000:]])  # of a body whose length is not known
    assert failure(gateway.ask("POST", "/upload", data=chunks), 413) == "too_many_bytes"


@pytest.mark.parametrize(
    ("length", "kind", "places", "large"),
    [
        (None, "image/png", 1, 24),
        (1, "image/png", 1, 96),
        (24 * MIB, "image/png", 1, 96),
        (24 * MIB + 1, "image/png", 2, 96),
        (96 * MIB, "multipart/form-data; boundary=x", 4, 96),
        (32 * MIB, "application/json", 1, 96),
    ],
)
def test_an_upload_takes_the_places_that_its_bytes_need(length: int | None, kind: str, places: int, large: int) -> None:
    headers = [(b"content-type", kind.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    request = Request({"type": "http", "headers": headers})
    size = Size.of(request, 24 * MIB, 8)
    assert (size.places, size.large_bytes) == (places, large * MIB)


def test_nobodys_upload_is_larger_than_the_places_that_it_may_have() -> None:
    request = Request({"type": "http", "headers": [(b"content-length", b"1")]})
    assert Size.of(request, 24 * MIB, 2).large_bytes == 48 * MIB
    assert Size.of(request, 24 * MIB, 1).large_bytes == 24 * MIB


def test_a_deleted_large_image_leaves_nothing(start: Start, mosaic: bytes, names: Callable[[], set[str]]) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(mosaic)
    gateway.until_done(image_id)
    assert gateway.ask("DELETE", f"/images/{image_id}").status_code == 204
    assert names() == set()


def test_a_large_image_has_previews_and_tiles_of_a_deep_zoom(gateway: Gateway, mosaic: bytes) -> None:
    image_id = gateway.upload(mosaic)
    preview = gateway.ask("GET", f"/images/{image_id}/preview?side=700")
    assert preview.headers["X-Image-Size"] == f"{WIDTH}x{HEIGHT}"
    assert Image.open(io.BytesIO(preview.content)).size == (700, 320)
    assert gateway.ask("GET", f"/images/{image_id}/tiles").json()["levels"] == 3
