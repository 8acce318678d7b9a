"""A gateway without keys serves its own page and programs, not the pages of other sites."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import uvicorn
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.gateway import app as gateway_app
from grainserve.gateway.service import Service
from tests.unit.gateway.conftest import Gateway, Start, png
from tests.unit.gateway.test_jobs import failure, keys

Names = Callable[[], set[str]]
OTHER = "http://other.example"


@pytest.mark.parametrize("host", ["other.example", "other.example:8000", "127.0.0.1.other.example", "192.168.1.7", "["])
def test_a_name_that_points_here_is_not_ours(gateway: Gateway, names: Names, host: str) -> None:
    for method, path in (("POST", "/upload"), ("GET", "/image-analysis?imageId=a"), ("GET", "/")):
        answer = gateway.ask(method, path, data=png(), headers={"Host": host})
        assert failure(answer, 403) == "unknown_host"
    assert names() == set()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_loopback_has_several_names(gateway: Gateway, host: str) -> None:
    gateway.upload(png(), headers={"Host": host})


def test_with_keys_or_where_names_are_unknown_any_name_does(start: Start) -> None:
    known, (key,) = keys()
    start(keys=known).upload(png(), key, headers={"Host": "lab.example"})
    start(hosts=None).upload(png(), headers={"Host": "lab.example"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": OTHER},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Origin": OTHER},  # all headers that a browser sends over plain HTTP
        {"Origin": "null"},
        {"Origin": OTHER, "Host": "lab.example:8000"},
    ],
)
def test_the_page_of_another_site_writes_nothing(start: Start, names: Names, headers: dict[str, str]) -> None:
    gateway = start(hosts=None)
    image_id = gateway.upload(png())
    before = names()
    assert failure(gateway.ask("POST", "/upload", data=png(), headers=headers), 403) == "cross_origin"
    answer = gateway.ask("DELETE", f"/image-analysis?imageId={image_id}", headers=headers)
    assert failure(answer, 403) == "cross_origin"
    assert names() == before
    assert gateway.ask("GET", "/", headers=headers).status_code == 200, "a link may lead here"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://lab.example", "Host": "inner:8000"},  # a proxy between
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://lab.example:8000", "Host": "lab.example:8000"},
        {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://friend.example"},
    ],
)
def test_its_own_page_and_named_origins_write(start: Start, headers: dict[str, str]) -> None:
    start(hosts=None, origins=("https://friend.example",)).upload(png(), headers=headers)


def test_with_keys_the_key_decides(start: Start) -> None:
    known, (key,) = keys()
    start(keys=known).upload(png(), key, headers={"Sec-Fetch-Site": "cross-site", "Origin": OTHER})


@pytest.mark.usefixtures("bucket_name", "torchserve")
@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        ([], {"localhost", "127.0.0.1", "[::1]"}),
        (["--host", "127.0.0.2"], {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"}),
        (["--host", "::1"], {"localhost", "127.0.0.1", "[::1]"}),
        (["--host", "0.0.0.0", "--no-keys"], None),
    ],
)
def test_names_are_known_on_loopback(
    arguments: list[str], hosts: set[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Service] = []
    monkeypatch.setattr(gateway_app, "create_app", made.append)
    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: None)
    done = CliRunner().invoke(app, ["gateway", "--dispatch", "0", *arguments])
    assert done.exit_code == 0, done.stderr
    assert hosts == (None if made[0].hosts is None else set(made[0].hosts))
