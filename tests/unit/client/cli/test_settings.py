from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grainserve import local_service
from grainserve.cli.application import app
from grainserve.cli.settings import PLACES
from tests.unit.client.cli.test_application import words

NOTE = "using `make serve`: http://127.0.0.1:9, bucket {}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def service(bucket_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A local service that is announced, in an environment that names none; returns its bucket."""
    settings = {
        "GRAINSERVE_BUCKET": bucket_name,
        "GRAINSERVE_TORCHSERVE": "http://127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": os.environ["STORAGE_EMULATOR_HOST"],
    }
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(local_service, "path", lambda: tmp_path / "serve.json")
    with local_service.announced(settings):
        yield bucket_name


def test_a_command_uses_the_local_service_and_says_so_in_a_line(service: str) -> None:
    before = dict(os.environ)
    done = run("jobs")
    assert done.exit_code == 0
    note, *rest = done.stderr.strip().splitlines()
    assert note == NOTE.format(service)
    assert rest == ["no unfinished jobs of lab; --everyone lists those of all submitters"]
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", PLACES)
def test_a_setting_in_the_environment_keeps_the_local_service_out(
    name: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "make serve`:" not in words(run("jobs", "cancel").stderr)


def test_an_option_keeps_the_local_service_out_and_goes_over_the_environment(
    service: str, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "make serve`:" not in words(run("--torchserve", "http://127.0.0.1:9", "jobs", "cancel").stderr)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRAINSERVE_TORCHSERVE", "nonsense")
        done = run("--torchserve", "also nonsense", "segment", "none.png", "--point", "1,1")
    assert "GRAINSERVE_TORCHSERVE is 'also nonsense'" in words(done.stderr)


@pytest.mark.parametrize("arguments", [["jobs", "--help"], ["stats", "--help"], ["keygen", "lab"]], ids=" ".join)
def test_what_needs_no_service_says_nothing_of_it(service: str, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 0
    assert "make serve" not in done.stderr


def test_without_a_service_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    done = run("jobs")
    assert done.exit_code == 2
    assert "GRAINSERVE_BUCKET is not set" in words(done.stderr)
    assert "finds a running `make serve`" in words(done.stderr)
