from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grainserve import local_service
from grainserve.errors import InvalidConfiguration

SETTINGS = {"GRAINSERVE_BUCKET": "here", "GRAINSERVE_TORCHSERVE": "http://127.0.0.1:8080"}
SERVE = (
    "import os, sys; from grainserve import local_service\n"
    "with local_service.announced({'GRAINSERVE_BUCKET': 'theirs'}): print('ready', flush=True); sys.stdin.read()"
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.undo()  # the path that users have
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "grainserve" / "serve.json"


def serve() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], *, kill: bool) -> None:
    if kill:
        process.kill()
    process.communicate()


def test_a_service_is_found_while_it_runs(file: Path) -> None:
    assert local_service.find() == {}
    with local_service.announced(SETTINGS):
        assert local_service.find() == SETTINGS
        assert file.stat().st_mode & 0o077 == 0
    assert not file.exists()
    assert local_service.find() == {}


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_service_of_another_process_is_found_until_it_ends(file: Path, kill: bool) -> None:
    process = serve()
    assert local_service.find() == {"GRAINSERVE_BUCKET": "theirs"}
    end(process, kill=kill)
    assert local_service.find() == {}
    assert file.exists() == kill


def test_a_service_that_ends_leaves_the_file_of_a_later_one(file: Path) -> None:
    process = serve()
    with local_service.announced(SETTINGS):
        end(process, kill=False)
        assert local_service.find() == SETTINGS
    assert not file.exists()


def test_a_file_that_holds_no_settings_is_named(file: Path) -> None:
    with local_service.announced(SETTINGS):
        file.write_text("[1]")
        with pytest.raises(InvalidConfiguration, match=r"serve\.json cannot be read"):
            local_service.find()
