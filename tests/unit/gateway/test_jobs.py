"""The REST API for jobs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import tifffile
from google.cloud import storage
from numpy.typing import NDArray
from PIL import Image

from grainserve.contract import validate_error, validate_result
from grainserve.exports import formats
from grainserve.exports.formats import FORMATS
from grainserve.gateway.keys import Caller, Keys, make_key
from grainserve.jobs.job import State
from tests.unit.client.fake_torchserve import TOO_LARGE, FakeTorchServe
from tests.unit.client.made import make_image
from tests.unit.gateway.conftest import Gateway, Start, png

Names = Callable[[], set[str]]


def failure(answer: requests.Response, status: int) -> str:
    """Returns the error code of an answer that must be an error."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["message"]
    return str(error["code"])


def test_upload_then_poll_then_result(start: Start, torchserve: FakeTorchServe) -> None:
    gateway = start(dispatch=True)
    answer = gateway.ask("POST", "/upload?um_per_px=2.5&min_area=", data=png())
    assert answer.status_code == 202
    image_id = answer.json()["imageId"]
    assert answer.headers["Location"] == f"/image-analysis?imageId={image_id}"
    result = gateway.until_done(image_id)
    assert result.status_code == 200
    validate_result(result.json())
    assert result.json()["metadata"]["imageId"] == image_id
    assert torchserve.requests[0][1]["um_per_px"] == 2.5
    assert gateway.ask("GET", f"/images/{image_id}").content == png()


def test_an_upload_has_the_trace_of_its_request(gateway: Gateway) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    image_ids = [gateway.upload(png(), headers={"traceparent": parent}) for parent in (given, "none of W3C's")]
    kept, made = (gateway.service.store.job(image_id).traceparent for image_id in image_ids)
    assert kept == given
    assert made not in (given, "none of W3C's", None)


@pytest.mark.parametrize("form", ["json", "multipart", "raw"])
def test_the_three_forms_of_an_upload_are_one(gateway: Gateway, form: str) -> None:
    forms: dict[str, dict[str, Any]] = {
        "json": {"json": {"image": base64.b64encode(png()).decode(), "points_per_side": 16, "label": "quartz"}},
        "multipart": {"files": {"image": png()}, "data": {"points_per_side": "16", "label": "quartz"}},
        "raw": {"data": png(), "params": {"points_per_side": "16", "label": "quartz"}},
    }
    answer = gateway.ask("POST", "/upload", **forms[form])
    assert answer.status_code == 202, answer.text
    store, image_id = gateway.service.store, answer.json()["imageId"]
    assert store.image(image_id) == png()
    job = store.job(image_id)
    assert (job.options, job.model, job.submitter) == ({"points_per_side": 16, "label": "quartz"}, "sam_tiny", "web")


def tiff(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", planarconfig="contig" if array.shape[-1] == 5 else None)
    return file.getvalue()


@pytest.mark.parametrize("wrap", [base64.encodebytes, lambda data: b"data:image/png;base64," + base64.b64encode(data)])
def test_base64_may_be_wrapped_or_a_data_uri(gateway: Gateway, wrap: Callable[[bytes], bytes]) -> None:
    answer = gateway.ask("POST", "/upload", json={"image": wrap(png()).decode()})
    assert answer.status_code == 202, answer.text
    assert gateway.service.store.image(answer.json()["imageId"]) == png()


@pytest.mark.parametrize(
    ("body", "kind", "query", "status", "code"),
    [
        (b"", "image/png", "", 400, "empty_body"),
        (b"hello", "image/png", "", 415, "not_an_image"),
        (b"GIF89a" + bytes(50), "image/gif", "", 415, "unsupported_format"),
        (tiff(np.zeros((8, 8, 5), np.uint8)), "image/tiff", "", 415, "unsupported_format"),
        (tiff(np.zeros((8, 8), np.complex64)), "image/tiff", "", 415, "unsupported_format"),
        (tiff(np.zeros((3, 8, 8), np.uint8)), "image/tiff", "", 415, "multiple_pages"),
        (b"II*\0" + bytes(50), "image/tiff", "", 415, "truncated_image"),
        (png(1025, 8), "image/png", "?mask_format=png", 422, "invalid_option"),
        (png(1025, 8), "image/png", "?largest_grain=385", 422, "invalid_option"),
        (png(), "image/png", "?min_area=-1", 422, "invalid_option"),
        (png(), "image/png", "?points_per_side=many", 422, "invalid_option"),
        (png(), "image/png", "?nonsense=1", 422, "invalid_option"),
        (b"{", "application/json", "", 400, "invalid_json"),
        (b"[" * 100_000, "application/json", "", 400, "invalid_json"),
        (b'{"image": "", "label": "\\ud800"}', "application/json", "", 422, "invalid_option"),
        (b"[]", "application/json", "", 400, "missing_image"),
        (b'{"image": "###"}', "application/json", "", 400, "invalid_base64"),
        (b'{"image": "aGVsbG8="}', "application/json", "", 415, "not_an_image"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_stored(  # noqa: PLR0917 - a table's columns
    gateway: Gateway, names: Names, body: bytes, kind: str, query: str, status: int, code: str
) -> None:
    answer = gateway.ask("POST", "/upload" + query, data=body, headers={"Content-Type": kind})
    assert failure(answer, status) == code
    assert names() == set()


def test_a_form_without_an_image_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/upload", files={"picture": png()})
    assert failure(answer, 400) == "missing_image"


@pytest.mark.parametrize("form", ["declared", "chunked", "multipart", "json"])
def test_a_body_is_read_no_further_than_its_limit(start: Start, names: Names, form: str) -> None:
    limit = 100_000
    gateway = start(keys=Keys({}, Caller("web", max_bytes=limit)))
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 65536
            yield b"x" * 65536

    if form == "chunked":
        connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=20)
        chunked = {"Transfer-Encoding": "chunked"}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it hangs up, as it should
            connection.request("POST", "/upload", body=endless(), encode_chunked=True, headers=chunked)
        connection.close()
        assert sent < 30_000_000
    elif form == "declared":
        assert failure(gateway.ask("POST", "/upload", data=png() + bytes(limit)), 413) == "too_many_bytes"
    elif form == "multipart":
        answer = gateway.ask("POST", "/upload", files={"image": bytes(2 * limit)})
        assert failure(answer, 413) == "too_many_bytes"
    else:
        body = json.dumps({"image": base64.b64encode(bytes(2 * limit)).decode()})
        answer = gateway.ask("POST", "/upload", data=body, headers={"Content-Type": "application/json"})
        assert failure(answer, 413) == "too_many_bytes"
    assert names() == set()


def test_a_running_job_says_where_it_is(gateway: Gateway) -> None:
    first, second = gateway.upload(png()), gateway.upload(png())
    answer = gateway.ask("GET", f"/image-analysis?imageId={first}")
    assert answer.status_code == 202
    assert answer.json().pop("created")
    assert answer.json() | {"created": ""} == {
        "imageId": first,
        "state": "queued",
        "attempts": 0,
        "position": 2,
        "created": "",
        "expectedSeconds": None,
    }
    assert second != first


def test_a_failed_job_says_why(start: Start, torchserve: FakeTorchServe) -> None:
    torchserve.script = [TOO_LARGE]
    gateway = start(dispatch=True)
    answer = gateway.until_done(gateway.upload(png()))
    assert failure(answer, 410) == "image_too_large"
    validate_error(answer.json())


@pytest.mark.parametrize("image_id", ["f" * 32, "..", "a/b", "%2e%2e%2fjobs", "x" * 200, ""])
def test_ids_that_are_none_are_not_found(gateway: Gateway, image_id: str) -> None:
    for method, path in (("GET", "/image-analysis?imageId="), ("DELETE", "/image-analysis?imageId=")):
        assert failure(gateway.ask(method, path + image_id), 404) in ("image_not_found", "invalid_image_id")
    if image_id.strip("."):  # the library requests itself removes dots from a path
        assert gateway.ask("GET", f"/images/{image_id}").status_code == 404


def test_delete_leaves_nothing(start: Start, names: Names) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(png())
    gateway.until_done(image_id)
    assert gateway.ask("DELETE", f"/image-analysis?imageId={image_id}").status_code == 204
    assert names() == set()
    assert failure(gateway.ask("GET", f"/image-analysis?imageId={image_id}"), 404) == "image_not_found"


def test_an_upload_sent_again_makes_no_second_job(gateway: Gateway, names: Names) -> None:
    again: dict[str, Any] = {"headers": {"Idempotency-Key": "sample 17"}}
    assert gateway.upload(png(), **again) == gateway.upload(png(), **again)
    assert sum(name.startswith("jobs/") for name in names()) == 1
    assert failure(gateway.ask("POST", "/upload", data=png(32, 32), **again), 409) == "idempotency_conflict"


def test_a_result_comes_as_every_kind_of_file(start: Start) -> None:
    gateway = start(dispatch=True)
    file = io.BytesIO()
    make_image().save(file, "PNG")
    image_id = gateway.upload(file.getvalue())
    gateway.until_done(image_id)
    where = f"/image-analysis?imageId={image_id}&format="
    table = gateway.ask("GET", where + "csv")
    assert table.headers["Content-Type"].startswith("text/csv")
    assert table.text.splitlines()[0].startswith("id,")
    assert Image.open(io.BytesIO(gateway.ask("GET", where + "overlay").content)).size >= make_image().size
    assert Image.open(io.BytesIO(gateway.ask("GET", where + "sizes").content)).format == "PNG"
    for name, form in FORMATS.items():
        answer = gateway.ask("GET", where + name)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == form.media_type
    statistics = gateway.ask("GET", where + "statistics").json()
    assert statistics["unit"] == "px"
    assert statistics["number"]["percentiles"]["50"].keys() == {"value", "low", "high", "reason"}
    assert statistics["edgeCorrection"]
    assert not gateway.ask("GET", where + "statistics&edgeCorrection=false").json()["edgeCorrection"]
    corrected, seen = (gateway.ask("GET", where + f"sizes{asked}").content for asked in ("", "&edgeCorrection=false"))
    assert corrected != seen
    assert failure(gateway.ask("GET", where + "xlsx"), 422) == "invalid_request"


def test_a_table_has_no_formulas_unless_it_is_asked_for_raw(
    start: Start, torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = torchserve.result
    monkeypatch.setattr(torchserve, "result", lambda body: made(body).replace(b'"class": "grain"', b'"class": "=1+1"'))
    gateway = start(dispatch=True)
    image_id = gateway.upload(png())
    gateway.until_done(image_id)
    where = f"/image-analysis?imageId={image_id}&format=csv"
    for dialect, cell in (("", ",'=1+1,"), ("&csvDialect=excel-eu", ";'=1+1;"), ("&csvDialect=raw", ",=1+1,")):
        rows = gateway.ask("GET", where + dialect).text.splitlines()[1:]
        assert rows
        assert all(cell in row for row in rows)
    assert failure(gateway.ask("GET", where + "&csvDialect=french"), 422) == "invalid_request"


def test_a_library_that_the_gateway_lacks_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(png())
    gateway.until_done(image_id)
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    answer = gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=parquet")
    assert failure(answer, 501) == "extra_missing"


def test_a_job_submitted_past_the_gateway_is_shown_as_no_image(gateway: Gateway) -> None:
    """Somebody who may write to the bucket could put a page with scripts there."""
    page = b"<script>alert(1)</script>"
    image_id = gateway.service.store.submit(page, model="sam_tiny", version=None, options={}, submitter="web")
    answer = gateway.ask("GET", f"/images/{image_id}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Keys -----------------------------------------------------------------------------------------------------------------


def keys(*callers: Caller) -> tuple[Keys, list[str]]:
    """Makes known keys, and the keys themselves; for one caller if none is named."""
    made = {make_key(caller.name)[0]: caller for caller in callers or (Caller("lab"),)}
    return Keys({hashlib.sha256(key.encode()).digest(): caller for key, caller in made.items()}), list(made)


def test_without_a_valid_key_nothing_is_answered(start: Start) -> None:
    known, (key,) = keys(Caller("lab"))
    gateway = start(keys=known)
    image_id = gateway.upload(png(), key)
    assert gateway.service.store.job(image_id).submitter == "lab"
    for wrong in (None, "", key[:-1], key + "x", "x" * 5000):
        for method, path in (
            ("POST", "/upload"),
            ("GET", f"/image-analysis?imageId={image_id}"),
            ("DELETE", f"/image-analysis?imageId={image_id}"),
            ("GET", f"/images/{image_id}"),
        ):
            answer = gateway.ask(method, path, wrong, data=png())
            assert failure(answer, 401) == "unauthorized"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert gateway.service.store.job(image_id).state is State.QUEUED


def test_another_callers_images_do_not_exist(start: Start) -> None:
    known, (mine, theirs) = keys(Caller("lab"), Caller("other"))
    gateway = start(keys=known)
    image_id = gateway.upload(png(), mine)
    for method, path in (
        ("GET", "/image-analysis?imageId="),
        ("DELETE", "/image-analysis?imageId="),
        ("GET", "/images/"),
    ):
        assert failure(gateway.ask(method, path + image_id, theirs), 404) == "image_not_found"
    assert gateway.ask("GET", f"/images/{image_id}", mine).content == png()


def test_a_key_has_a_rate_and_a_size_of_its_own(start: Start) -> None:
    known, (slow, small) = keys(Caller("slow", requests_per_minute=2), Caller("small", max_bytes=100))
    gateway = start(keys=known)
    for _ in range(4):  # the requests of two minutes at once
        gateway.upload(png(), slow)
    answer = gateway.ask("POST", "/upload", slow, data=png())
    assert failure(answer, 429) == "too_many_requests"
    assert 20 <= int(answer.headers["Retry-After"]) <= 31
    assert failure(gateway.ask("POST", "/upload", small, data=png()), 413) == "too_many_bytes"


def test_a_bucket_that_is_gone_is_told(gateway: Gateway, gcs: storage.Client, bucket_name: str) -> None:
    gcs.bucket(bucket_name).delete(force=True)
    answer = gateway.ask("POST", "/upload", data=png())
    assert failure(answer, 503) == "bucket_not_found"
    assert bucket_name not in answer.text, "that is for the log"
