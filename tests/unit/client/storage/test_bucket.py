"""Hidden behaviour of the storage library."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from grainserve.errors import StorageError, StorageFull, StorageUnreachable
from grainserve.storage.bucket import PART, Bucket, _is_own_404, check_emulator, translated
from tests.faults.proxy import JSON, Mischief, Proxy

PAGE = (404, [("Content-Type", "text/html")], b"<html><h1>404 Not Found</h1></html>")
"""Answer of a load balancer without a route to storage."""


def test_a_call_is_one_call(bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    bucket, asked = Bucket(bucket_name), []
    bucket.client._http.hooks["response"].append(lambda response, **_: asked.append(response.url))
    assert bucket.read("nothing") is None
    assert len(asked) == 1
    assert started == []


class FullDisk:
    """Storage whose disk is full for a while, with fake-gcs-server's message."""

    def __init__(self) -> None:
        outer, self.full = self, True

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(500, b"write /gcs/x: no space left on device") if outer.full else self._answer(200, STORED)

            def do_DELETE(self) -> None:
                self._answer(204, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


STORED = json.dumps({"name": "x", "generation": "1", "bucket": "grains"}).encode()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk()
    thread = threading.Thread(target=disk.server.serve_forever)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", disk.url)
    yield disk
    disk.server.shutdown()
    thread.join()
    disk.server.server_close()


def bucket_of(disk: FullDisk) -> Bucket:
    client = storage.Client(project="x", credentials=AnonymousCredentials(), client_options={"api_endpoint": disk.url})
    return Bucket("grains", client, patience=0.5)


def test_a_full_disk_is_told_as_that_until_there_is_room(disk: FullDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grainserve.storage.bucket.storage.Blob.upload_from_string", _without_checksum)
    bucket = bucket_of(disk)
    bucket.check_room()  # nothing was written yet, so there is no request
    with pytest.raises(StorageFull, match=r"no room left in storage .*no space left on device.*free disk"):
        bucket.create("x", b"1", "text/plain")
    with pytest.raises(StorageFull):
        bucket.check_room()
    disk.full = False
    bucket.check_room()


_upload = storage.Blob.upload_from_string


def _without_checksum(blob: storage.Blob, *given: object, **named: object) -> None:
    """Removes the checksum, which the imitation does not compute."""
    _upload(blob, *given, **named | {"checksum": None})


def test_an_emulator_that_does_not_run_is_told_at_once_and_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(StorageUnreachable) as error:
        check_emulator()
    said = str(error.value)
    assert "refused" in said
    assert "Caused" not in said
    assert "is the emulator at http://127.0.0.1:9 (STORAGE_EMULATOR_HOST) running? `make serve` starts one" in said
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    check_emulator()


def test_gcs_itself_is_sought_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    with pytest.raises(StorageUnreachable, match="check the network"), translated("reading x", "grains"):
        raise requests.ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (api.RetryError("", cause=requests.ConnectionError("no route to host")), "no route to host"),
        (api.RetryError("Timeout", cause=None), "Timeout"),
        (requests.ConnectionError(), "ConnectionError"),
    ],
)
def test_the_innermost_reason_that_has_words_is_told(error: Exception, said: str) -> None:
    with pytest.raises(StorageUnreachable, match=rf"in bucket 'grains': .*{said}"), translated("reading x", "grains"):
        raise error


# Who says that there is nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "numbered", "body", "own"),
    [
        ("https://storage.googleapis.com/storage/v1/b/x/o/y", True, b'{"error": {"code": 404}}', True),
        ("https://storage.googleapis.com/download/storage/v1/b/x/o/y", True, b"No such object: x/y", True),
        ("https://storage.googleapis.com/download/storage/v1/b/x/o/y", False, b"No such object: x/y", False),
        ("https://storage.googleapis.com/storage/v1/b/x/o/y", False, b'{"error": {"code": 404}}', False),
        ("https://storage.googleapis.com/storage/v1/b/x/o/y", True, PAGE[2], False),
        ("http://127.0.0.1:4443/download/storage/v1/b/x/o/y", False, b"Not Found\n", True),
        ("http://127.0.0.1:4443/storage/v1/b/x/o/y", False, b'{"error": "no route"}', False),
        ("http://127.0.0.1:4443/storage/v1/b/x/o/y", False, PAGE[2], False),
        ("http://127.0.0.1:4443/storage/v1/b/x/o/y", False, b"[]", False),
        ("http://127.0.0.1:4443/storage/v1/b/x/o/y", False, b"", False),
    ],
)
def test_a_404_is_gcs_own_by_its_body_and_header(url: str, numbered: bool, body: bytes, own: bool) -> None:
    answer = requests.Response()
    answer.status_code, answer.url, answer._content = 404, url, body
    if numbered:
        answer.headers["X-GUploader-UploadID"] = "ADPycds"
    assert _is_own_404(answer) == own


CALLS: dict[str, Callable[[Bucket], object]] = {
    "read": lambda bucket: bucket.read("x"),
    "find": lambda bucket: bucket.find("x"),
    "delete": lambda bucket: bucket.delete("x", 1),
    "create": lambda bucket: bucket.create("y", b"", "text/plain"),
    "list": lambda bucket: list(bucket.entries("x")),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_page_in_gcs_place_says_nothing_of_an_object(bucket_name: str, proxy: Proxy, call: str) -> None:
    bucket = Bucket(bucket_name, patience=0.2)
    bucket.create("x", b"1", "text/plain")
    proxy.instead = lambda _: PAGE
    with pytest.raises(StorageUnreachable):
        CALLS[call](bucket)
    proxy.instead = lambda _: None
    stored = bucket.read("x")
    assert stored is not None
    assert stored.data == b"1"


def test_a_page_that_comes_once_is_asked_past(bucket_name: str, proxy: Proxy) -> None:
    bucket, pages = Bucket(bucket_name), [PAGE]
    bucket.create("x", b"1", "text/plain")
    proxy.instead = lambda _: pages.pop() if pages else None
    stored = bucket.read("x")
    assert (stored and stored.data, pages) == (b"1", [])


NO_ANSWERS = {
    "a page": ([("Content-Type", "text/html")], b"<html>Please log in</html>"),
    "nothing": (JSON, b""),
    "null": (JSON, b"null"),
    "a list": (JSON, b"[]"),
    "of other types": (JSON, b'{"items": "moved", "prefixes": 1, "name": "x", "generation": "one"}'),
    "without a generation": (JSON, b'{"items": [{}], "name": "x"}'),
    "another's": (JSON, b'{"items": [{"name": "z", "generation": "1"}], "name": "z", "generation": "1"}'),
}
"""Successful answers that do not belong to the request."""


@pytest.mark.parametrize(
    ("call", "said"),
    # A deletion has an empty answer, and the name in the answer to a write is not read.
    [
        (call, said)
        for call in CALLS
        for said in NO_ANSWERS
        if call != "delete" and (call, said) != ("create", "another's")
    ],
)
def test_a_success_that_answers_something_else_is_none(bucket_name: str, proxy: Proxy, call: str, said: str) -> None:
    bucket = Bucket(bucket_name, patience=0.2)
    bucket.create("x", b"1", "text/plain")
    proxy.instead = lambda _: (200, *NO_ANSWERS[said])
    with pytest.raises(StorageUnreachable, match="no answer"):
        CALLS[call](bucket)


def test_an_answer_of_another_question_that_comes_once_is_asked_past(bucket_name: str, proxy: Proxy) -> None:
    bucket, said = Bucket(bucket_name), [(200, *NO_ANSWERS["another's"])]
    generation = bucket.create("x", b"1", "text/plain")
    proxy.instead = lambda _: said.pop() if said else None
    found = bucket.find("x")
    assert found is not None
    assert (found.name, found.generation, said) == ("x", generation, [])


def test_parts_that_were_spoilt_on_their_way_do_not_end_well(bucket_name: str, proxy: Proxy) -> None:
    bucket, data = Bucket(bucket_name), bytes(range(256)) * (PART // 128)
    bucket.create("x", data, "application/octet-stream")
    whole = bucket.open("x")
    assert whole is not None
    assert (whole.size, b"".join(whole.parts)) == (len(data), data)
    spoilt = bucket.open("x")
    assert spoilt is not None
    proxy.mischief = Mischief(spoil=1.0)
    assert next(spoilt.parts) != data[:PART], "it goes out before all of it is known"
    with pytest.raises(StorageError, match="spoilt bytes"):
        next(spoilt.parts)


def test_a_deletion_takes_the_generation_that_it_names_and_no_other(bucket_name: str, proxy: Proxy) -> None:
    bucket = Bucket(bucket_name)
    first = bucket.create("x", b"1", "text/plain")
    second = bucket.replace("x", b"2", "text/plain", first)
    bucket.delete("x", first)
    assert bucket.exists("x")
    bucket.delete("x", second)
    assert not bucket.exists("x")
    assert proxy.calls["delete x"] == 1


def test_what_is_listed_bears_its_generation(bucket_name: str) -> None:
    bucket = Bucket(bucket_name)
    for name in ("a/1", "a/2", "a/3", "b/1"):
        bucket.create(name, b"", "text/plain")
    found = list(bucket.entries("a/", start="a/2", end="a/3"))
    assert found == [bucket.find("a/2")]
