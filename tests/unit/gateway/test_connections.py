"""Idle, half-sent and slow connections, and their effect on others."""

from __future__ import annotations

import logging
import queue
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.gateway import connections
from grainserve.gateway.connections import BACKLOG, OWN_FILES, make_room, network
from grainserve.gateway.service import Limits
from tests.unit.gateway.conftest import Gateway, Start, png

NEVER = 3600.0
HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def connected(
    gateway: Gateway, count: int, sent: bytes = HALF, source: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """Opens connections that have sent something."""
    where = urlsplit(gateway.url)
    address = (where.hostname, where.port)
    with ExitStack() as opened:
        made = []
        for _ in range(count):
            each = socket.create_connection(address, timeout=20, source_address=(source, 0))
            made.append(opened.enter_context(each))
            if sent:
                each.sendall(sent)
        yield made


@contextmanager
def uploading(gateway: Gateway, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Begins uploads whose bodies the gateway waits for."""
    head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    with connected(gateway, count, head, source) as made:
        for each in made:
            assert each.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield made


def rest(connection: socket.socket) -> bytes:
    """Reads everything until the gateway hangs up."""
    found = b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"G", HALF, WHOLE + HALF])
def test_headers_that_do_not_come_end_the_connection(start: Start, sent: bytes) -> None:
    gateway = start(limits=Limits(header_seconds=0.2))
    with connected(gateway, 1, sent) as (half,):
        answered = rest(half)
    assert answered.count(b"HTTP/1.1 200") == sent.count(WHOLE)


def test_headers_that_drip_end_the_connection(start: Start) -> None:
    """uvicorn's own timer restarts with every byte."""
    gateway = start(limits=Limits(header_seconds=0.5))
    with connected(gateway, 1) as (half,):
        half.settimeout(0.02)
        ended = False
        while not ended:
            try:
                half.sendall(b"x")
                ended = not half.recv(100)
            except TimeoutError:
                continue
            except OSError:
                ended = True


def test_a_body_that_nobody_wants_is_not_read_for_ever(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REST_SECONDS", 0.2)
    gateway = start(limits=Limits(header_seconds=NEVER))
    refused = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx"
    with connected(gateway, 1, refused) as (half,):
        assert rest(half).startswith(b"HTTP/1.1 404")


def test_a_request_that_takes_long_is_left_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = start(limits=Limits(header_seconds=0.1))
    counted, never = gateway.service.store.pending.count, threading.Event()

    def slow(*given: Any) -> int:
        never.wait(0.5)
        return counted(*given)

    monkeypatch.setattr(gateway.service.store.pending, "count", slow)
    image_id = gateway.upload(png())
    assert gateway.ask("GET", f"/image-analysis?imageId={image_id}").status_code == 202


@pytest.mark.parametrize("limits", [Limits(10, 1000, NEVER), Limits(1000, 10, NEVER)], ids=["in all", "per address"])
def test_idle_connections_make_room_for_one_that_asks(start: Start, limits: Limits) -> None:
    gateway = start(limits=limits)
    with connected(gateway, 30) as idle:
        for _ in range(3):
            assert gateway.ask("GET", "/healthz").status_code == 200
        for each in idle[:20]:  # the oldest connection was closed
            assert rest(each) == b""


@pytest.mark.parametrize("limits", [Limits(4, 1000, NEVER), Limits(1000, 4, NEVER)], ids=["in all", "per address"])
def test_of_connections_at_work_none_makes_room(start: Start, limits: Limits) -> None:
    gateway = start(limits=limits)
    with uploading(gateway, 4) as working:
        with connected(gateway, 1, b"") as (late,):
            assert rest(late).startswith(b"HTTP/1.1 503")
        working[0].sendall(b"x" * 1000)
        assert working[0].recv(12) == b"HTTP/1.1 415"


def test_another_address_has_connections_of_its_own(start: Start) -> None:
    gateway = start(limits=Limits(1000, 4, NEVER))
    with uploading(gateway, 4, "127.0.0.2"):
        assert gateway.ask("GET", "/healthz").status_code == 200


def test_connections_that_ended_count_no_more(start: Start) -> None:
    gateway = start(limits=Limits(3, 3, NEVER))
    for _ in range(10):
        with connected(gateway, 2, WHOLE) as answered:
            for each in answered:
                assert each.recv(12) == b"HTTP/1.1 200"
    with connected(gateway, 3, WHOLE) as answered:
        assert [each.recv(12) for each in answered] == 3 * [b"HTTP/1.1 200"]


def test_a_reader_that_stands_still_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, connections.__name__)
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    gateway = start(limits=Limits(header_seconds=NEVER))
    body = png() + bytes(20_000_000)
    image_id = gateway.upload(body)
    ask = f"GET /images/{image_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    cut = CutOff()
    logging.getLogger(connections.__name__).addHandler(cut)
    try:
        with connected(gateway, 1, ask) as (slow,):
            cut.wait("an answer is read with less than 16 KiB/s")
            assert len(rest(slow)) < len(body)
    finally:
        logging.getLogger(connections.__name__).removeHandler(cut)
    assert gateway.ask("GET", f"/images/{image_id}").content == body, "who reads gets it whole"


class CutOff(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(record.getMessage())

    def wait(self, words: str) -> None:
        while words not in self._lines.get(timeout=60):
            pass


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("", ""),
    ],
)
def test_what_one_machine_may_have_counts_as_one_address(address: str, expected: str) -> None:
    assert network(address) == expected


FILES = 500 + BACKLOG + OWN_FILES


@pytest.mark.parametrize(
    ("now", "most", "asked"),
    [
        (256, 4096, FILES),
        (256, resource.RLIM_INFINITY, FILES),
        (FILES, FILES, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_files_are_there_for_all_connections(
    monkeypatch: pytest.MonkeyPatch, now: int, most: int, asked: int | None
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (now, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    make_room(500)
    assert given == ([] if asked is None else [(asked, most)])


def test_too_few_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (400, 400))
    with pytest.raises(InvalidConfiguration, match=f"--connections {400 - BACKLOG - OWN_FILES}"):
        make_room(500)
