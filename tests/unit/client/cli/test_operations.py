"""The operators' commands."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grainserve.cli.application import app
from grainserve.cli.operations import log_to_terminal
from grainserve.gateway.keys import Caller, Keys
from grainserve.gateway.service import Service
from grainserve.jobs.job import State
from grainserve.jobs.store import JobStore
from tests.unit.client.fake_torchserve import FakeTorchServe


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_keygen_shows_the_key_apart_from_what_the_file_gets(tmp_path: Path) -> None:
    code, entry, said = run("keygen", "lab-a")
    assert code == 0
    key = said.rpartition(": ")[2].strip()
    assert key not in entry
    (tmp_path / "keys.toml").write_text(entry)
    assert Keys.read(tmp_path / "keys.toml").caller(key) == Caller("lab-a")
    assert run("keygen", "Lab A")[0] == 2


@pytest.mark.usefixtures("bucket_name")
def test_a_file_of_keys_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    code, _, said = run("gateway", "--keys", str(tmp_path / "keys.toml"), "--port", "0")
    assert code == 2
    assert "cannot be read (No such file or directory)" in " ".join(said.split())


@pytest.mark.usefixtures("bucket_name")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "grains.example"])
def test_a_gateway_that_others_can_reach_wants_keys(host: str) -> None:
    code, _, said = run("gateway", "--host", host, "--port", "0")
    assert code == 2
    assert "--keys" in said


@pytest.mark.usefixtures("bucket_name")
def test_a_gateway_without_a_torchserve_cannot_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAINSERVE_TORCHSERVE", "none")
    code, _, said = run("gateway", "--port", "0")
    assert (code, "--dispatch 0" in said) == (2, True)


@pytest.mark.usefixtures("bucket_name", "torchserve")
def test_what_a_gateway_may_read_and_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Service] = []
    monkeypatch.setattr("grainserve.gateway.app.create_app", made.append)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setenv("GRAINSERVE_READABLE", "scans")
    for arguments in (["--dispatch", "2"], ["--dispatch", "0", "--readable", "archive/2026"]):
        assert run("gateway", "--port", "0", *arguments)[0] == 0
    assert [service.needs_torchserve for service in made] == [True, False]
    assert [service.readable.places for service in made] == [(("scans", ""),), (("archive", "2026/"),)]
    code, _, said = run("gateway", "--port", "0", "--readable", os.environ["GRAINSERVE_BUCKET"])
    assert (code, "the bucket of jobs" in " ".join(said.split())) == (2, True)


@pytest.mark.usefixtures("bucket_name")
def test_reconcile_without_a_topic_makes_none_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAINSERVE_PUBSUB", raising=False)
    code, _, said = run("reconcile", "--create")
    assert (code, "GRAINSERVE_PUBSUB" in said) == (2, True)
    monkeypatch.setenv("GRAINSERVE_PUBSUB", "jobs")
    code, _, said = run("reconcile")
    assert (code, "projects/PROJECT/topics/TOPIC" in said) == (2, True)


@pytest.mark.usefixtures("bucket_name")
@pytest.mark.parametrize("grace", ["0", "60"])
def test_a_dispatcher_that_is_asked_to_stop_ends_its_job_or_gives_it_back(
    store: JobStore, torchserve: FakeTorchServe, grace: str
) -> None:
    torchserve.before_answer = lambda: time.sleep(2)
    image_id = store.submit(b"image", model="sam_tiny", version=None, options={}, submitter="lab")
    command = [sys.executable, "-m", "grainserve", "dispatch", "--grace", grace]
    dispatcher = subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.PIPE, text=True)
    while store.job(image_id).state is State.QUEUED:
        time.sleep(0.02)
    dispatcher.send_signal(signal.SIGTERM)
    _, said = dispatcher.communicate(timeout=60)
    assert dispatcher.returncode == 0
    job = store.job(image_id)
    if grace == "0":
        assert (job.state, job.attempts, job.lease) == (State.QUEUED, 0, None)
        assert "back in the queue" in said
    else:
        assert job.state is State.DONE
        assert "1 done" in said


def test_foreign_words_forge_no_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    log_to_terminal()
    logging.getLogger("grainserve.dispatch.dispatcher").warning("attempt failed: %s", "no\n2026-11-30 INFO done\x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"WARNING attempt failed: no\n2026-11-30 INFO done\x1b[2J")
