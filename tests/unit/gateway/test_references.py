"""`POST /upload` with the URI of an object."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable

import pytest
from google.cloud import storage

from grainserve.gateway.keys import Caller, Keys
from grainserve.storage.uris import Readable
from tests.unit.gateway.conftest import Gateway, Start, png

Names = Callable[[], set[str]]


@pytest.fixture
def scans(gcs: storage.Client) -> storage.Bucket:
    bucket = gcs.create_bucket(f"scans-{uuid.uuid4().hex}")
    objects = {"lab/a.png": png(), "lab/none.tif": b"no image", "lab/large.png": png(1025, 4), "b.png": png()}
    for name, data in objects.items():
        bucket.blob(name).upload_from_string(data)
    return bucket


@pytest.fixture
def gateway(start: Start, scans: storage.Bucket) -> Gateway:
    return start(readable=Readable.parse(f"{scans.name}/lab"))


def ask(gateway: Gateway, uri: object, key: str | None = None, **options: object) -> tuple[int, str]:
    """Returns the status, and the image id or the error's code."""
    answer = gateway.ask("POST", "/upload", key, json={"uri": uri, **options})
    told = answer.json()
    return answer.status_code, told["imageId"] if answer.status_code == 202 else told["error"]["code"]


def test_an_object_is_measured_without_an_upload(start: Start, scans: storage.Bucket) -> None:
    gateway = start(dispatch=True, readable=Readable.parse(scans.name))
    status, image_id = ask(gateway, f"gs://{scans.name}/lab/a.png", um_per_px=2.5)
    assert status == 202
    assert gateway.until_done(image_id).status_code == 200
    image = gateway.ask("GET", f"/images/{image_id}")
    assert (image.content, image.headers["Content-Type"]) == (png(), "image/png")
    job = gateway.service.store.job(image_id)
    generation = scans.get_blob("lab/a.png").generation
    assert (job.source, job.options) == (f"gs://{scans.name}/lab/a.png#{generation}", {"um_per_px": 2.5})


def test_the_same_object_again_makes_no_second_job(gateway: Gateway, scans: storage.Bucket, names: Names) -> None:
    uri = f"gs://{scans.name}/lab/a.png"
    first = ask(gateway, uri)
    there = names()
    assert ask(gateway, uri) == first
    assert names() == there
    assert ask(gateway, uri, min_area=7)[1] != first[1]


def test_refusals(gateway: Gateway, scans: storage.Bucket, names: Names) -> None:
    base = f"gs://{scans.name}"
    assert ask(gateway, f"{base}/b.png") == (403, "not_readable")
    assert ask(gateway, f"gs://{gateway.service.store.bucket.name}/images/1") == (403, "not_readable")
    assert ask(gateway, f"{base}/lab/missing.png") == (404, "object_not_found")
    assert ask(gateway, f"{base}/lab/large.png") == (413, "image_too_large")
    assert ask(gateway, f"{base}/lab/none.tif") == (415, "not_an_image")
    for uri in ("", "lab/a.png", "http://127.0.0.1/a.png", f"{base}/lab/", f"{base}/lab/../b.png", 5, None, [base]):
        assert ask(gateway, uri) == (422, "invalid_uri")
    assert ask(gateway, f"{base}/lab/*.png") == (404, "object_not_found")
    assert ask(gateway, f"{base}/lab/a.png", nonsense=1) == (422, "invalid_option")
    assert ask(gateway, f"{base}/lab/a.png", image="aGk=") == (422, "invalid_option")
    assert names() == set()
    told = gateway.ask("POST", "/upload", json={"uri": f"{base}/b.png"})
    assert scans.name not in told.text  # what is readable is the operator's to tell


def test_nothing_is_readable_unless_listed(start: Start, scans: storage.Bucket) -> None:
    assert ask(start(), f"gs://{scans.name}/lab/a.png") == (403, "not_readable")


def test_a_keys_rate_size_and_images_hold(start: Start, scans: storage.Bucket) -> None:
    callers = {
        hashlib.sha256(name.encode()).digest(): Caller(name, 1, size)
        for name, size in (("small", len(png()) - 1), ("large", len(png())))
    }
    gateway = start(keys=Keys(callers), readable=Readable.parse(scans.name))
    uri = f"gs://{scans.name}/lab/a.png"
    assert ask(gateway, uri) == (401, "unauthorized")
    assert ask(gateway, uri, "small") == (413, "too_many_bytes")
    status, image_id = ask(gateway, uri, "large")
    assert status == 202
    assert gateway.service.store.job(image_id).submitter == "large"
    assert gateway.ask("GET", f"/image-analysis?imageId={image_id}", "small").status_code == 404
    assert ask(gateway, uri, "large") == (202, image_id)  # two minutes' worth of requests may come at once
    assert ask(gateway, uri, "large") == (429, "too_many_requests")
