from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from grain_handler.embeddings import shared
from grain_handler.embeddings.shared import PREFIX, TTL_SECONDS, Shared, connect
from tests.unit.handler.embeddings.made import AwayError, FakeRedis, kept


class Case:
    """Embeddings in a fake, and what was told of them."""

    def __init__(self) -> None:
        self.redis, self.told = FakeRedis(), list[str]()
        self.shared = Shared(self.redis, self.redis, (AwayError,), self.told.append)

    def stored(self, key: str) -> None:
        self.shared.put(key, kept())
        assert self.shared._writing is not None
        self.shared._writing.result()


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(shared, "SECONDS", 60.0)  # a loaded machine is slow as well
    case = Case()
    yield case
    case.redis.hold.set()
    case.shared.close()


def test_what_was_stored_is_found_and_stays_longer_for_it(case: Case) -> None:
    case.stored("a")
    case.redis.expires[PREFIX + "a"] = 1
    found = case.shared.get(["a", "b"])
    assert torch.equal(found["a"].embedding.tokens, kept().embedding.tokens.half().float())
    assert list(found) == ["a"]
    assert case.told == ["stored", "hit", "miss"]
    assert case.redis.expires[PREFIX + "a"] == TTL_SECONDS


def test_nothing_is_asked_for_nothing(case: Case) -> None:
    assert case.shared.get([]) == {}
    assert case.redis.looks == 0


def test_a_redis_that_is_away_is_a_miss_and_left_alone_for_a_while(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.stored("a")
    case.redis.away = True
    assert case.shared.get(["a"]) == case.shared.get(["a"]) == {}
    case.shared.put("b", kept())
    assert case.told == ["stored", "away", "dropped"]
    assert case.redis.looks == 1
    case.redis.away = False
    now = time.monotonic() + shared.PAUSE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert list(case.shared.get(["a"])) == ["a"]


def test_a_redis_that_is_slow_is_a_miss(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SECONDS", 0.05)
    case.redis.hold.clear()
    assert case.shared.get(["a"]) == {}
    assert case.told == ["slow"]


def test_a_write_that_fails_is_told(case: Case) -> None:
    case.redis.away = True
    case.stored("a")
    assert case.told == ["away"]


def test_what_is_damaged_is_a_miss(case: Case) -> None:
    case.stored("a")
    data = case.redis.values[PREFIX + "a"]
    case.redis.values |= {PREFIX + "a": data[:-9] + b"damaged!!", PREFIX + "b": data, PREFIX + "c": b""}
    assert case.shared.get(["a", "b", "c"]) == {}
    assert case.told == ["stored", "damaged", "damaged", "damaged"]


def test_what_is_too_large_is_not_stored(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_BYTES", 100)
    case.shared.put("a", kept())
    assert (case.told, case.redis.values) == (["dropped"], {})


@pytest.fixture
def server(tmp_path: Path) -> tuple[str, list[str]]:
    """A real Redis: its URL, and the command that starts it."""
    binary = shutil.which("redis-server")
    if not binary:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0", [binary, "--port", str(port), "--save", "", "--dir", str(tmp_path)]


def started(command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if b"Ready to accept connections" in line:
            return process
    raise AssertionError("redis-server did not start")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_a_real_redis_that_is_killed_and_comes_back(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, command = server
    for name in ("SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(shared, name, 60.0)
    monkeypatch.setattr(shared, "PAUSE_SECONDS", 0.0)
    told: list[str] = []
    entries = connect(url, told.append)

    def store() -> None:
        entries.put("a", kept())
        assert entries._writing is not None
        entries._writing.result()

    for _ in range(2):
        process = started(command)
        try:
            assert entries.get(["a"]) == {}
            store()
            found = entries.get(["a"])["a"]
            assert torch.equal(found.embedding.tokens, kept().embedding.tokens.half().float())
            assert 0 < entries.reader.ttl(PREFIX + "a") <= TTL_SECONDS  # type: ignore[attr-defined]  # redis-py's
        finally:
            stop(process)
        assert entries.get(["a"]) == {}
    entries.close()
    assert told == ["miss", "stored", "hit", "away"] * 2
