"""The routes of a caller's images."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from grainserve.gateway import history
from grainserve.gateway.keys import Caller, Keys
from grainserve.gateway.service import Service
from grainserve.jobs.job import Failure
from grainserve.jobs.store import DELETED
from tests.unit.gateway.conftest import Gateway, Start, png


def keys_of(**callers: Caller) -> Keys:
    """Keys that are the callers' names."""
    return Keys({hashlib.sha256(name.encode()).digest(): caller for name, caller in callers.items()})


@pytest.fixture
def shared(start: Start) -> Gateway:
    """A gateway with two callers and a key that reads Ann's images."""
    reader = Caller("visitor", submitter="ann", read_only=True)
    return start(keys=keys_of(ann=Caller("ann"), bob=Caller("bob"), visitor=reader))


def listed(gateway: Gateway, key: str | None = None, **query: Any) -> list[str]:
    answer = gateway.ask("GET", "/images", key, params=query)
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["images"]]


def named(gateway: Gateway, *names: str, key: str | None = None) -> list[str]:
    return [gateway.upload(png(), key, params={"name": name}) for name in names]


def test_the_history_is_newest_first_and_has_the_state_of_each_image(start: Start) -> None:
    gateway = start()
    first, second = named(gateway, "a.png", "b.png")

    images = gateway.ask("GET", "/images").json()["images"]

    assert [image["imageId"] for image in images] == [second, first]
    assert images[0] | {"created": ""} == {
        "imageId": second,
        "name": "b.png",
        "tags": [],
        "created": "",
        "state": "queued",
        "position": 2,
        "expectedSeconds": None,
    }


def test_a_measured_image_has_its_size_its_grains_and_its_scale(start: Start) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(png(), params={"um_per_px": 2.5})
    result = gateway.until_done(image_id).json()

    (image,) = gateway.ask("GET", "/images").json()["images"]

    assert image["state"] == "done"
    assert image["grains"] == len(result["segmentedObjects"]) > 0
    assert (image["width"], image["height"]) == (80, 60)
    assert image["umPerPx"] == 2.5


def test_a_failed_image_has_its_reason(gateway: Gateway, service: Service) -> None:
    image_id = gateway.upload(png())
    service.store.cancel(image_id)

    (image,) = gateway.ask("GET", "/images").json()["images"]

    assert image["error"]["code"] == "cancelled"


def test_pages_follow_each_other_and_miss_nothing(gateway: Gateway) -> None:
    ids = named(gateway, *(f"{number}" for number in range(7)))
    found: list[str] = []
    after = ""
    pages = 0
    while True:
        page = gateway.ask("GET", "/images", params={"limit": 3, "after": after}).json()
        found += [image["imageId"] for image in page["images"]]
        pages += 1
        if page["next"] is None:
            break
        after = page["next"]

    assert found == ids[::-1]
    assert pages == 3


def test_name_and_tags_change_and_are_searched(gateway: Gateway) -> None:
    first, second = named(gateway, "Straße 1.tif", "b.tif")

    changed = gateway.ask("PATCH", f"/images/{second}", json={"tags": ["Quarz", " 2026 "]}).json()

    assert (changed["name"], changed["tags"]) == ("b.tif", ["Quarz", "2026"])
    assert listed(gateway, search="STRASSE") == ["Straße 1.tif"]
    assert listed(gateway, search="quar") == listed(gateway, tag="QUARZ") == ["b.tif"]
    assert listed(gateway, tag="Quar") == []
    gateway.ask("PATCH", f"/images/{first}", json={"name": "c"})
    assert listed(gateway) == ["b.tif", "c"]
    assert gateway.ask("GET", f"/images/{second}/about").json()["tags"] == ["Quarz", "2026"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x" * 201},
        {"name": "a\nb"},
        {"name": 1},
        {"tags": ["x"] * 3 + [""]},
        {"tags": ["x" * 51]},
        {"tags": [f"{number}" for number in range(21)]},
        {"tags": ["\x1b"]},
        {"name": "漢" * 200, "tags": ["漢" * 48 + f"{number:02}" for number in range(20)]},
        {"colour": "red"},
    ],
)
def test_bad_names_and_tags_are_refused(gateway: Gateway, changes: dict[str, Any]) -> None:
    (image_id,) = named(gateway, "a.png")

    answer = gateway.ask("PATCH", f"/images/{image_id}", json=changes)

    assert answer.status_code == 422
    assert listed(gateway) == ["a.png"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "after=x", "after=9/../x", "state=lost", "colour=red"])
def test_bad_pages_are_refused(gateway: Gateway, query: str) -> None:
    assert gateway.ask("GET", f"/images?{query}").status_code == 422


@pytest.mark.parametrize("query", [{"name": "a\x00b"}, {"name": "x" * 201}, [("name", "a"), ("name", "b")]])
def test_an_upload_with_a_bad_name_stores_nothing(gateway: Gateway, query: Any) -> None:
    answer = gateway.ask("POST", "/upload", data=png(), params=query)

    assert answer.status_code == 422
    assert listed(gateway) == []


def test_images_in_a_state_are_found(gateway: Gateway, service: Service) -> None:
    _, second = named(gateway, "a", "b")
    service.store.cancel(second)

    assert listed(gateway, state="failed") == ["b"]
    assert listed(gateway, state="queued") == ["a"]


def test_a_deleted_image_is_gone_from_the_history(gateway: Gateway, names: Any) -> None:
    image_id, _ = named(gateway, "a", "b")
    gateway.ask("PUT", f"/images/{image_id}/scale", json={"text": "2,5"})

    assert gateway.ask("DELETE", f"/images/{image_id}").status_code == 204

    assert listed(gateway) == ["b"]
    assert not [name for name in names() if image_id in name]


def test_other_peoples_images_are_not_found(shared: Gateway) -> None:
    (image_id,) = named(shared, "a", key="ann")

    assert listed(shared, "bob") == []
    for method, path in [("GET", "about"), ("GET", "scale"), ("PUT", "scale"), ("PATCH", ""), ("DELETE", "")]:
        body = {"json": {"text": "2"} if path else {}} if method in ("PUT", "PATCH") else {}
        answer = shared.ask(method, f"/images/{image_id}/{path}".rstrip("/"), "bob", **body)
        assert answer.status_code == 404, (method, path)
    assert listed(shared, "ann") == ["a"]


def test_a_scale_is_not_copied_to_other_peoples_images(shared: Gateway) -> None:
    (mine,) = named(shared, "a", key="ann")
    (other,) = named(shared, "b", key="bob")

    answer = shared.ask("PUT", f"/images/{mine}/scale", "ann", json={"text": "2", "images": [other]})

    assert answer.status_code == 404
    assert shared.ask("GET", f"/images/{mine}/scale", "ann").json()["revisions"] == []
    assert shared.ask("GET", f"/images/{other}/scale", "bob").json()["revisions"] == []


def test_a_key_that_only_reads_sees_its_submitters_images(shared: Gateway) -> None:
    (image_id,) = named(shared, "a", key="ann")

    assert listed(shared, "visitor") == ["a"]
    assert shared.ask("GET", f"/images/{image_id}/about", "visitor").json()["name"] == "a"
    me = shared.ask("GET", "/me", "visitor").json()
    assert (me["name"], me["readOnly"], me["keys"]) == ("visitor", True, True)


def test_a_key_that_only_reads_writes_by_no_route(shared: Gateway, names: Any) -> None:
    """Takes the routes from the description of the API, so that a new one is tried, too."""
    (image_id,) = named(shared, "a", key="ann")
    before, tried = names(), []
    for path, methods in shared.ask("GET", "/openapi.json").json()["paths"].items():
        for method in methods.keys() - {"get", "head"}:
            where = path.replace("{image_id}", image_id).replace("{", "").replace("}", "")
            answer = shared.ask(method.upper(), where, "visitor", params={"imageId": image_id}, json={})
            if path not in ("/segment", "/segment_batch"):  # they store nothing
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only"), (method, path)
            tried.append(path)

    assert "/upload" in tried
    assert "/images/{image_id}/scale" in tried
    assert names() == before


def test_me_without_keys(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/me").json() == {
        "name": "web",
        "readOnly": False,
        "keys": False,
        "maxBytes": 96 * 2**20,
        "maxSide": 1024,
    }


def test_me_with_a_wrong_key(shared: Gateway) -> None:
    assert shared.ask("GET", "/me", "carl").status_code == 401


def test_a_scale_is_set_and_told_with_who_and_when(shared: Gateway) -> None:
    (image_id,) = named(shared, "a", key="ann")
    before = shared.ask("GET", f"/images/{image_id}/scale", "ann").json()
    assert (before["umPerPx"], before["source"], before["revisions"]) == (None, "none", [])

    set_ = shared.ask("PUT", f"/images/{image_id}/scale", "ann", json={"text": "1 mm = 400 px"}).json()

    assert (set_["umPerPx"], set_["source"], set_["by"], set_["text"]) == (2.5, "typed", "ann", "2.5 µm/px")
    assert shared.ask("GET", f"/images/{image_id}/scale", "visitor").json() == set_
    line = {"line": {"x1": 0, "y1": 0, "x2": 30, "y2": 40}, "length": "0,5 mm"}
    drawn = shared.ask("PUT", f"/images/{image_id}/scale", "ann", json=line).json()
    assert (drawn["umPerPx"], drawn["source"], drawn["line"]) == (10.0, "line", line["line"])
    none = shared.ask("PUT", f"/images/{image_id}/scale", "ann", json={"umPerPx": None}).json()
    assert (none["umPerPx"], none["source"]) == (None, "none")
    assert [each["umPerPx"] for each in none["revisions"]] == [2.5, 10.0, None]


def test_a_scale_is_copied(gateway: Gateway) -> None:
    first, second = named(gateway, "a", "b")

    gateway.ask("PUT", f"/images/{first}/scale", json={"umPerPx": 3, "images": [second, first, second]})

    copied = gateway.ask("GET", f"/images/{second}/scale").json()
    assert (copied["umPerPx"], copied["source"], len(copied["revisions"])) == (3.0, "copied", 1)
    assert len(gateway.ask("GET", f"/images/{first}/scale").json()["revisions"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "red"},
        {"text": "2", "umPerPx": 2},
        {"umPerPx": 0},
        {"umPerPx": -1},
        {"line": {"x1": 0, "y1": 0, "x2": 30, "y2": 40}},
        {"length": "5 mm"},
        {"line": {"x1": 0, "y1": 0, "x2": 0, "y2": 0}, "length": "5 mm"},
        {"line": {"x1": 0, "y1": 0, "x2": 30, "y2": 40}, "length": "5"},
        {"text": "2", "source": "guessed"},
        {"text": "2", "colour": "red"},
        {"umPerPx": "2"},
        {"umPerPx": True},
        {"umPerPx": 10**400},
        {"line": {"x1": 0, "y1": 0, "x2": 1e308, "y2": 1e308}, "length": "5 mm"},
        {"text": "2", "images": ["../a"] * 1001},
    ],
)
def test_what_is_no_scale_is_refused(gateway: Gateway, body: dict[str, Any]) -> None:
    (image_id,) = named(gateway, "a")

    assert gateway.ask("PUT", f"/images/{image_id}/scale", json=body).status_code == 422
    assert gateway.ask("GET", f"/images/{image_id}/scale").json()["revisions"] == []


def test_the_expected_time_comes_from_jobs_that_ended(gateway: Gateway, service: Service) -> None:
    first = gateway.upload(png())
    waiting = gateway.ask("GET", f"/image-analysis?imageId={first}").json()
    assert waiting["expectedSeconds"] is None
    assert waiting["created"]
    service.store.cancel(first)
    gateway.until_done(first)

    second = gateway.upload(png())

    assert gateway.ask("GET", f"/image-analysis?imageId={second}").json()["expectedSeconds"] >= 0


def test_an_image_whose_job_is_gone_is_passed_over(gateway: Gateway, service: Service) -> None:
    first, _ = named(gateway, "a", "b")
    bucket = service.store.bucket
    found = bucket.find(f"jobs/{first}.json")
    assert found
    bucket.delete(found.name, found.generation)

    assert listed(gateway) == ["b"]


def test_a_failure_keeps_its_place_in_the_history(gateway: Gateway, service: Service) -> None:
    (image_id,) = named(gateway, "a")
    claim = service.store.claim(next(service.store.pending.all()), "d")
    assert claim
    service.store.reject(claim, Failure("not_an_image", "it is none"))  # type: ignore[arg-type]  # no Later here

    assert gateway.ask("GET", f"/images/{image_id}/about").json()["error"] == {
        "code": "not_an_image",
        "message": "it is none",
    }


def test_every_format_has_the_current_scale(start: Start, service: Service) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(png(), params={"um_per_px": 2})
    before = gateway.until_done(image_id).json()
    table = gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=csv&csvDialect=raw").text
    page = gateway.ask("GET", "/images").json()["images"][0]["umPerPx"]

    gateway.ask("PUT", f"/images/{image_id}/scale", json={"text": "0,25 px/µm"})

    after = gateway.ask("GET", f"/image-analysis?imageId={image_id}").json()
    told = after["metadata"]["scale"]
    assert (told["umPerPx"], told["source"], told["by"], told["revision"]) == (4.0, "typed", "web", 1)
    assert "scale" not in before["metadata"]
    for old, new in zip(before["segmentedObjects"], after["segmentedObjects"], strict=True):
        assert new["properties"]["area_um2"] == 4 * old["properties"]["area_um2"]
        assert new["properties"]["feretMax_um"] == new["properties"]["feretMax"] * 4.0
    changed = gateway.ask("GET", f"/image-analysis?imageId={image_id}&format=csv&csvDialect=raw").text
    first, second = (next(csv.DictReader(io.StringIO(text))) for text in (table, changed))
    assert float(second["area_um2"]) == 4 * float(first["area_um2"])
    assert (page, gateway.ask("GET", "/images").json()["images"][0]["umPerPx"]) == (2.0, 4.0)
    assert service.store.poll(image_id) == after
    assert service.store.stored_result(image_id) == before


def test_a_long_body_is_refused(gateway: Gateway) -> None:
    (image_id,) = named(gateway, "a")
    for method, path in (("PATCH", ""), ("PUT", "/scale")):
        answer = gateway.ask(method, f"/images/{image_id}{path}", data=b" " * 2**20)
        assert answer.status_code == 413


def test_a_scale_is_copied_to_no_image_that_is_none(gateway: Gateway) -> None:
    (image_id,) = named(gateway, "a")
    answer = gateway.ask("PUT", f"/images/{image_id}/scale", json={"text": "2", "images": ["../jobs/a"]})
    assert answer.status_code == 404
    assert gateway.ask("GET", f"/images/{image_id}/scale").json()["revisions"] == []


def test_images_of_a_sample_are_found(shared: Gateway) -> None:
    first, _, third = named(shared, "a", "b", "c", key="ann")
    made = shared.ask("POST", "/samples", "ann", json={"name": "s", "imageIds": [first, third]}).json()

    assert (
        listed(shared, "ann", sample=made["sampleId"])
        == listed(shared, "visitor", sample=made["sampleId"])
        == ["c", "a"]
    )
    assert listed(shared, "ann", sample=made["sampleId"], search="c") == ["c"]
    assert shared.ask("GET", "/images", "bob", params={"sample": made["sampleId"]}).status_code == 404
    assert shared.ask("GET", "/images", "ann", params={"sample": "none"}).status_code == 404


def test_a_search_that_finds_little_goes_on_with_the_next_page(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SEARCHED", 3)
    named(gateway, "wanted", *(f"{number}" for number in range(5)))

    first = gateway.ask("GET", "/images", params={"search": "wanted"}).json()
    second = gateway.ask("GET", "/images", params={"search": "wanted", "after": first["next"]}).json()

    assert first["images"] == []
    assert ([image["name"] for image in second["images"]], second["next"]) == (["wanted"], None)


def test_lists_of_one_key_leave_places_for_others(shared: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list waits in the bucket until all have been asked for."""
    go_on = threading.Event()
    look = shared.service.store.entries.listed

    def slow(submitter: str, *given: Any) -> Any:
        if submitter == "ann":
            go_on.wait()
        return look(submitter, *given)

    monkeypatch.setattr(shared.service.store.entries, "listed", slow)
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(shared.ask, "GET", "/images", "ann") for _ in range(9)]
        refused = next(as_completed(asked)).result()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert listed(shared, "bob") == []
        go_on.set()
    assert sorted(each.result().status_code for each in asked) == [200] * 8 + [503]


def test_an_image_that_is_being_deleted_is_gone_from_the_history(gateway: Gateway, service: Service) -> None:
    (image_id,) = named(gateway, "a")
    records = service.store._records
    job, generation = records.read(image_id)
    records.swap(job.failed(DELETED), generation)
    assert listed(gateway) == []
