"""A server process: its failures are reported with its own output, and no part of it stays."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from tools.problem import Problem
from tools.process import Server

# Starts a child, says so in a file, and ignores polite requests to end.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""
# Ends when asked to, and leaves its child behind.
CARELESS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""


def start(code: str, folder: Path) -> Server:
    return Server("The server", [sys.executable, "-c", code], folder / "log", os.environ)


@pytest.mark.parametrize("code", [STUBBORN, CARELESS])
def test_stop_leaves_nothing(code: str, tmp_path: Path) -> None:
    server = start(code, tmp_path)
    server.wait_until(lambda: "ready" in (tmp_path / "log").read_text(), timeout=30)
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) == 2
    begin = time.monotonic()
    server.stop(patience=0.5)
    assert time.monotonic() - begin < 15
    assert not any(process.is_running() for process in family)
    assert not server.running
    server.stop()


def test_children_of_a_dead_server_are_ended_too(tmp_path: Path) -> None:
    server = start(CARELESS.replace("time.sleep(600)\n", "sys.exit(3)\n", 2), tmp_path)
    server.wait_until(lambda: "ready" in (tmp_path / "log").read_text(), timeout=30)
    deadline = time.monotonic() + 30
    while server.running and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [process for process in psutil.process_iter() if os.getpgid(process.pid) == server.pid]
    server.stop()
    assert left
    assert not any(process.is_running() for process in left)


def test_an_early_end_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = start("print('no such device'); raise SystemExit(3)", tmp_path)
    with pytest.raises(Problem, match=r"ended at its start \(exit code 3\):\n    no such device"):
        server.wait_until(lambda: False, timeout=30)
    server.stop()


def test_a_late_start_is_told(tmp_path: Path) -> None:
    server = start("import time; time.sleep(600)", tmp_path)
    with pytest.raises(Problem, match=r"was not ready after 0 s:\n    \(its log is empty\)"):
        server.wait_until(lambda: False, timeout=0.2)
    server.stop()


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"The server does not start: .*no-such-command"):
        Server("The server", [tmp_path / "no-such-command"], tmp_path / "log", os.environ)
