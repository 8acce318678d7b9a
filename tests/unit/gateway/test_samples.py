"""Samples over HTTP."""

from __future__ import annotations

import pytest

from grainserve.gateway.keys import Caller
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.sampled import sample
from tests.unit.gateway.test_jobs import failure, keys


def test_a_sample_is_made_listed_changed_and_deleted(gateway: Gateway) -> None:
    one, other = (gateway.upload(png()) for _ in range(2))
    answer = gateway.ask("POST", "/samples", json={"name": "sand", "imageIds": [one]})
    made = answer.json()
    where = f"/samples/{made['sampleId']}"
    assert (answer.status_code, answer.headers["Location"]) == (201, where)
    assert (made["name"], made["imageIds"]) == ("sand", [one])
    assert gateway.ask("GET", where).json() == made
    newer = sample(gateway, [], name="silt")
    listed = gateway.ask("GET", "/samples?limit=1").json()
    assert [each["sampleId"] for each in listed["samples"]] == [newer]
    following = gateway.ask("GET", f"/samples?limit=1&after={listed['next']}").json()
    assert following == {"samples": [made], "next": None}
    changed = gateway.ask("PATCH", where, json={"name": "Düne", "add": [other], "remove": [one]}).json()
    assert (changed["name"], changed["imageIds"]) == ("Düne", [other])
    assert gateway.ask("DELETE", where).status_code == 204
    assert failure(gateway.ask("GET", where), 404) == "sample_not_found"
    assert gateway.ask("GET", f"/images/{one}").status_code == 200, "images stay"


def test_another_keys_samples_and_images_do_not_exist(start: Start) -> None:
    known, (mine, theirs) = keys(Caller("lab"), Caller("other"))
    gateway = start(keys=known)
    image = gateway.upload(png(), mine)
    made = sample(gateway, [image], mine)
    for method, path, given in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/statistics", None),
        ("GET", "/report", None),
        ("GET", "/export", None),
    ):
        answer = gateway.ask(method, f"/samples/{made}{path}", theirs, json=given)
        assert failure(answer, 404) == "sample_not_found"
        assert failure(gateway.ask(method, f"/samples/{made}{path}", json=given), 401) == "unauthorized"
    assert gateway.ask("GET", "/samples", theirs).json() == {"samples": [], "next": None}
    both = f"/comparison?sample={made}&sample={sample(gateway, [], theirs)}"
    assert failure(gateway.ask("GET", both, theirs), 404) == "sample_not_found"
    assert failure(gateway.ask("GET", f"/images/{image}/report", theirs), 404) == "image_not_found"
    added = gateway.ask("POST", "/samples", theirs, json={"name": "x", "imageIds": [image]})
    assert failure(added, 404) == "image_not_found"
    own = sample(gateway, [], theirs)
    assert failure(gateway.ask("PATCH", f"/samples/{own}", theirs, json={"add": [image]}), 404) == "image_not_found"
    assert gateway.ask("GET", f"/samples/{made}", mine).json()["name"] == "sand"


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"name": 5}', 422, "invalid_request"),
        (b'{"name": "sand", "images": []}', 422, "invalid_request"),
        (b'{"name": "sand", "%s": []}' % (b"x" * 100_000), 422, "invalid_request"),
        (b'{"name": "sand", "imageIds": [%s]}' % b",".join([b"1"] * 900), 422, "invalid_request"),
        (b'{"name": "sand", "imageIds": "x"}', 422, "invalid_request"),
        (b'{"name": " "}', 422, "invalid_sample"),
        (b'{"name": "a\\u0000b"}', 422, "invalid_sample"),
        (b'{"name": "sand", "imageIds": ["../x"]}', 404, "invalid_image_id"),
        (b'{"name": "sand", "imageIds": ["unknown"]}', 404, "image_not_found"),
        (b'{"name": "sand", "imageIds": [%s]}' % b",".join([b'"a"'] * 1001), 422, "invalid_request"),
        (b'{"name": "sand", "imageIds": [%s]}' % b",".join([b'"a"'] * 9999), 400, "invalid_json"),
        (b'{"name": "%s"}' % (b"x" * 1_000_000), 413, "too_many_bytes"),
    ],
)
def test_what_is_no_sample_is_refused(gateway: Gateway, given: bytes, status: int, code: str) -> None:
    answer = gateway.ask("POST", "/samples", data=given, headers={"Content-Type": "application/json"})
    assert failure(answer, status) == code
    assert len(answer.content) < 1000
    assert gateway.ask("GET", "/samples").json()["samples"] == []
