"""The gateway's answers to operators and to browsers."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.cloud import storage

from grainserve.errors import InvalidConfiguration, StorageUnreachable, TorchServeUnreachable
from grainserve.gateway import probe as look
from grainserve.gateway import readiness
from grainserve.gateway.keys import Caller, Keys, Rates, TooManyRequests, make_key
from grainserve.gateway.service import Service
from grainserve.jobs.markers import Ticket
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import keys

PAGE = resources.files("grainserve.gateway").joinpath("page")
SCRIPTS = [f"/page/{file.name}" for file in PAGE.iterdir() if file.is_file()]


def test_ready_means_a_bucket_and_a_worker(start: Start, torchserve: FakeTorchServe) -> None:
    torchserve.workers(ready=1)
    ready = start().ask("GET", "/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": {}})
    torchserve.workers(ready=0)
    missing = start().ask("GET", "/readyz")
    assert (missing.status_code, missing.json()["problems"]) == (503, {"torchserve": "no_worker"})


def test_ready_means_that_no_thread_of_the_dispatcher_is_down(
    start: Start, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    some = service.store.pending.some

    def look(count: int) -> Iterator[Ticket]:
        if broken.is_set():
            raise ZeroDivisionError("what nobody foresaw")
        return some(count)

    monkeypatch.setattr(service.store.pending, "some", look)
    monkeypatch.setattr(readiness, "REMEMBERED", 0.0)
    gateway = start(dispatch=True)
    assert gateway.ask("GET", "/readyz").status_code == 200
    broken.set()
    while (answer := gateway.ask("GET", "/readyz")).status_code == 200:
        time.sleep(0.01)
    assert answer.json() == {"ready": False, "problems": {"dispatcher": "thread_down"}}
    text = gateway.ask("GET", "/metrics").text
    assert re.search(r'grainserve_thread_failures\{thread="looking for jobs"\} [1-9]', text)
    broken.clear()
    while gateway.ask("GET", "/readyz").status_code != 200:
        time.sleep(0.01)
    gateway.until_done(gateway.upload(png()))


def test_ready_means_a_worker_of_the_version_that_is_served(start: Start) -> None:
    assert start(version="1.0").ask("GET", "/readyz").status_code == 200
    missing = start(version="2.0").ask("GET", "/readyz")
    assert (missing.status_code, missing.json()["problems"]) == (503, {"torchserve": "model_not_found"})


def test_a_gateway_that_only_takes_jobs_needs_the_bucket_alone(
    start: Start, gcs: storage.Client, bucket_name: str
) -> None:
    gateway = start(torchserve=None)
    assert (gateway.ask("GET", "/readyz").status_code, gateway.upload(png()) != "") == (200, True)
    gcs.bucket(bucket_name).delete(force=True)
    missing = start(torchserve=None).ask("GET", "/readyz")
    assert (missing.status_code, missing.json()["problems"]) == (503, {"bucket": "bucket_not_found"})


def test_a_gateway_that_leaves_jobs_to_others_is_ready_without_torchserve(start: Start) -> None:
    nowhere = TorchServe("http://127.0.0.1:1", None)
    assert start(torchserve=nowhere).ask("GET", "/readyz").status_code == 503
    assert start(torchserve=nowhere, needs_torchserve=False).ask("GET", "/readyz").status_code == 200


def test_what_is_missing_is_told_by_code_and_its_place_to_the_log(
    start: Start, gcs: storage.Client, bucket_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    gcs.bucket(bucket_name).delete(force=True)
    nowhere = TorchServe("http://127.0.0.1:1", "http://127.0.0.1:1")
    answer = start(torchserve=nowhere).ask("GET", "/readyz")
    assert answer.json()["problems"] == {"bucket": "bucket_not_found", "torchserve": "torchserve_unreachable"}
    assert bucket_name in caplog.text
    assert "127.0.0.1:1" in caplog.text


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Makes GCS wait with its answers until the test ends; returns the requests."""
    asked: list[str] = []
    over = threading.Event()

    def hang(_: Bucket, name: str, **__: object) -> None:
        asked.append(name)
        over.wait()
        raise StorageUnreachable("it hung")

    monkeypatch.setattr(Bucket, "read", hang)
    monkeypatch.setattr(Bucket, "names", hang)
    yield asked
    over.set()


def test_probes_answer_while_storage_hangs(
    gateway: Gateway, hanging: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "PATIENCE", 0.2)
    where = urlsplit(gateway.url)
    with ExitStack() as polls:
        for _ in range(60):  # more than there are threads for routes
            poll = polls.enter_context(socket.create_connection((where.hostname, where.port)))
            poll.sendall(b"GET /image-analysis?imageId=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while len(hanging) < 40:
            time.sleep(0.01)
        assert gateway.ask("GET", "/healthz", timeout=5).json() == {"status": "ok"}
        for _ in range(3):
            answer = gateway.ask("GET", "/readyz", timeout=5)
            assert (answer.status_code, answer.json()["problems"]) == (503, {"bucket": "no_answer"})
            assert "grainserve_pending_jobs NaN" in gateway.ask("GET", "/metrics", timeout=5).text
        assert len(hanging) == 42, "one look for all probes, one for all scrapes"


def test_health_asks_nobody(gateway: Gateway, torchserve: FakeTorchServe) -> None:
    looks = torchserve.looks
    assert gateway.ask("GET", "/healthz").json() == {"status": "ok"}
    assert torchserve.looks == looks


def test_metrics_count_by_route_and_jobs(start: Start) -> None:
    gateway = start(dispatch=True)
    image_id = gateway.upload(png())
    gateway.until_done(image_id)
    gateway.ask("GET", "/nowhere/to/be/found")
    text = gateway.ask("GET", "/metrics").text
    assert re.search(r'grainserve_requests_total\{method="POST",route="/upload",status="202"\} 1.0', text)
    assert image_id not in text
    assert "nowhere" not in text
    assert 'grainserve_jobs_ended{how="done"} 1.0' in text
    assert "grainserve_pending_jobs 0.0" in text


def test_the_api_describes_itself(gateway: Gateway) -> None:
    paths = gateway.ask("GET", "/openapi.json").json()["paths"]
    assert set(paths) >= {"/upload", "/image-analysis", "/images/{image_id}", "/healthz", "/readyz", "/metrics"}
    upload = paths["/upload"]["post"]
    assert set(upload["requestBody"]["content"]) == {
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }
    assert {"401", "413", "415", "422", "429"} <= set(upload["responses"])
    assert "points_per_side" in {parameter["name"] for parameter in upload["parameters"]}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_nothing_from_elsewhere(gateway: Gateway, path: str) -> None:
    page = gateway.ask("GET", path)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert page.headers["X-Frame-Options"] == "DENY"
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    files = [link for link in linked if link.startswith("/page/")]
    assert files
    assert all(link.startswith(("/", "data:,", "#")) for link in linked)
    texts = {link: gateway.ask("GET", link) for link in [*files, *SCRIPTS]}
    assert all(answer.status_code == 200 for answer in texts.values())
    for text in [page.text, *(answer.text for answer in texts.values())]:
        # A host after // in quotes or url(), with its scheme or without; SVG's name space is a name only.
        assert set(re.findall(r"""["'(](?:\w+:)?//[^"'`)\s]+""", text)) <= {'"http://www.w3.org/2000/svg'}


def test_the_docs_are_all_of_the_api(gateway: Gateway) -> None:
    api, page = gateway.ask("GET", "/openapi.json").json(), gateway.ask("GET", "/docs").text
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert f"<h2>{method.upper()} {path}</h2>" in page
            for parameter in operation.get("parameters", ()):
                assert f"<td>{parameter['name']}</td>" in page
    assert 'curl --data-binary @image.jpg "$G/upload"' in unescape(page)
    assert 'curl -X DELETE "$G/image-analysis?imageId=ID"' in unescape(page)
    assert gateway.ask("GET", "/redoc").status_code == 404


def test_other_origins_are_let_in_by_name_only(start: Start) -> None:
    asked: dict[str, Any] = {"headers": {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"}}
    assert "Access-Control-Allow-Origin" not in start().ask("OPTIONS", "/upload", **asked).headers
    allowing = start(origins=("https://lab.example",))
    answer = allowing.ask("OPTIONS", "/upload", **asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"


# Keys -----------------------------------------------------------------------------------------------------------------


def test_a_file_of_keys_is_what_keygen_prints(tmp_path: Path) -> None:
    key, entry = make_key("lab-a")
    other, more = make_key("lab-b")
    file = tmp_path / "keys.toml"
    file.write_text(entry + more.replace("= 600", "= 30"))
    known = Keys.read(file)
    assert known.caller(key) == Caller("lab-a")
    assert known.caller(other) == Caller("lab-b", requests_per_minute=30)
    assert key not in file.read_text()


@pytest.mark.parametrize(
    "text",
    ["", "x", "[lab]\n", '[lab]\nsha256 = "12"\n', '[LAB]\nsha256 = "{0}"\n', '[lab]\nsha256 = "{0}"\nrate = 3\n',
     '[lab]\nsha256 = "{0}"\nmax_mib = 99\n', '[lab]\nsha256 = "{0}"\nrequests_per_minute = 0\n',
     '[lab]\nsha256 = "{0}"\nrequests_per_minute = 0.4\n', '[lab]\nsha256 = "{0}"\nrequests_per_minute = nan\n',
     '[lab]\nsha256 = "{0}"\nrequests_per_minute = inf\n', '[lab]\nsha256 = "{0}"\nmax_mib = nan\n'],
)  # fmt: skip
def test_a_file_of_keys_with_a_fault_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text.format(hashlib.sha256(b"x").hexdigest()))
    with pytest.raises(InvalidConfiguration):
        Keys.read(file)
    with pytest.raises(InvalidConfiguration, match="keygen"):
        Keys.read(tmp_path / "missing.toml")


def test_the_slowest_key_is_served() -> None:
    Rates().take(Caller("lab", requests_per_minute=1))
    with pytest.raises(ValueError, match="requests_per_minute"):
        Caller("lab", requests_per_minute=0.9)


def test_a_rate_fills_again() -> None:
    time = [0.0]
    rates, caller = Rates(lambda: time[0]), Caller("lab", requests_per_minute=60)
    for _ in range(120):
        rates.take(caller)
    with pytest.raises(TooManyRequests) as refusal:
        rates.take(caller)
    assert refusal.value.seconds == pytest.approx(1)
    rates.take(Caller("other", requests_per_minute=60))
    time[0] += 1
    rates.take(caller)
    with pytest.raises(TooManyRequests):
        rates.take(caller)


@pytest.mark.parametrize("with_keys", [True, False])
def test_a_gateway_in_torchserves_place_is_told_as_that(start: Start, with_keys: bool) -> None:
    url = start(keys=keys()[0] if with_keys else Keys({})).url
    with pytest.raises(
        TorchServeUnreachable, match=r"a grainserve gateway .*: set GRAINSERVE_TORCHSERVE to TorchServe"
    ):
        TorchServe(url, None).predict("sam_tiny", None, png(), {}, "a")
