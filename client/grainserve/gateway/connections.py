"""Limits on a gateway's connections: how many may be open, and how slow their other ends may be.

uvicorn times only the pause between two requests. It times neither the headers of a request nor the reading of an
answer. Its own limit counts a connection once a request has arrived, so connections with half-sent headers escape it.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from grainserve.errors import InvalidConfiguration
from grainserve.gateway.service import Limits

log = logging.getLogger(__name__)

BACKLOG = 128
"""Connections that asyncio may accept in one go, before the gateway counts any of them."""
OWN_FILES = 200
"""Files and connections that a gateway opens itself: to GCS, to TorchServe, for forms and for results."""
REST_SECONDS = 60.0
"""Seconds for the rest of a body whose request has been answered already. The rest is read and thrown away, so that the
sender can read the answer."""
STALL_SECONDS = 30.0
"""Seconds over which a reader's speed is measured. The network's buffers empty in lumps, so a shorter time misleads."""
SEND_BUFFER = 2**18
"""Bytes of an answer that the kernel buffers for a reader. Its default goes up to 4 MiB: a slow reader takes so long to
empty such a buffer that it would seem to stand still."""
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 85\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"error": {"code": "busy", "message": "too many connections: try again in a second"}}'
)


def settings(limits: Limits) -> dict[str, Any]:
    """Returns the options with which uvicorn keeps these limits."""
    return {"http": partial(Connection, Crowd(limits)), "ws": "none", "backlog": BACKLOG}


def make_room(connections: int) -> None:
    """Lets the process open as many files as its connections need.

    A process without free files can neither accept connections nor do anything else.

    Args:
        connections: most connections open at once.

    Raises:
        InvalidConfiguration: the system's hard limit on open files is too low.
    """
    needed = connections + BACKLOG + OWN_FILES
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY and now < needed:
        if most != resource.RLIM_INFINITY and most < needed:
            raise InvalidConfiguration(
                f"{connections} connections need {needed} open files, and this process may have {most}: raise it "
                f"(ulimit -n), or give --connections {max(1, most - BACKLOG - OWN_FILES)}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def network(address: str) -> str:
    """Returns what counts as one address: the IPv4 address itself, or the /64 network of an IPv6 address.

    One machine may own a whole /64.

    Args:
        address: address of a socket. Text that is no IP address is returned unchanged.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return str(found)


class Crowd:
    """All connections of a gateway, within its limits.

    When it is full, a new connection replaces the one that has waited longest for a request. So clients that send
    nothing cannot shut out clients that do.

    Attributes:
        limits: limits of the gateway.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[Connection, str] = {}
        self._by_address: Counter[str] = Counter()
        self._waiting: dict[Connection, None] = {}  # the longest wait first

    def admit(self, connection: Connection) -> bool:
        """Takes a connection in if there is room or room can be made; returns whether it did."""
        address = network(connection.client[0] if connection.client else "")
        crowded = self._by_address[address] >= self.limits.per_address
        if crowded or len(self._open) >= self.limits.connections:
            idle = (each for each in self._waiting if not crowded or self._open[each] == address)
            longest = next(idle, None)
            log.warning(
                "%d connections, %d of them from %s: %s",
                *(len(self._open), self._by_address[address], address),
                "one more is refused" if longest is None else "one that sends nothing makes room for one more",
            )
            if longest is None:
                return False
            longest.hang_up()
        self._open[connection] = address
        self._by_address[address] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """Forgets a connection; does nothing if it is not counted."""
        self._waiting.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def wait(self, connection: Connection) -> None:
        """Notes that a connection begins to wait for a request."""
        if connection in self._open:
            self._waiting[connection] = None

    def work(self, connection: Connection) -> None:
        """Notes that a connection's request has arrived."""
        self._waiting.pop(connection, None)


class Connection(H11Protocol):
    """A connection that is cut off when its other end is slower than the limits allow."""

    def __init__(self, crowd: Crowd, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd
        self._request_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def hang_up(self) -> None:
        """Closes the connection at once, even if data is still to be sent."""
        self._crowd.leave(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Takes the connection in, or refuses it with 503."""
        super().connection_made(transport)
        # Any unsent byte then counts as waiting for the reader, also the last bytes of an answer.
        transport.set_write_buffer_limits(0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if self._crowd.admit(self):
            self._time_request()
        else:
            transport.write(FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection and stops its timers."""
        super().connection_lost(exc)
        self._crowd.leave(self)
        self._stop_request_timer()
        self._stop_answer_timer()

    def data_received(self, data: bytes) -> None:
        """Passes the data on, then starts or stops the timer of the request."""
        super().data_received(data)
        self._time_request()

    def on_response_complete(self) -> None:
        """Starts the timer of the next request."""
        super().on_response_complete()
        self._time_request()

    def pause_writing(self) -> None:
        """Starts to time the reader: it lags behind."""
        super().pause_writing()
        self._time_answer()

    def resume_writing(self) -> None:
        """Stops timing the reader: it has taken all that was sent so far."""
        super().resume_writing()
        self._stop_answer_timer()

    def _time_request(self) -> None:
        """Starts the timer while no request is under way, and stops it when the headers of one have arrived."""
        working: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn says
        if working is not None and not working.response_complete:
            self._stop_request_timer()
            self._crowd.work(self)
        elif self._request_timer is None and not self.transport.is_closing():
            rest = self.conn.their_state is h11.SEND_BODY
            seconds = REST_SECONDS if rest else self._crowd.limits.header_seconds
            self._request_timer = self.loop.call_later(seconds, self._give_up, f"no request came within {seconds:g} s")
            self._crowd.wait(self)

    def _time_answer(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._answer_timer = self.loop.call_later(STALL_SECONDS, self._check_answer, unsent)

    def _check_answer(self, unsent: int) -> None:
        slowest = self._crowd.limits.slowest
        if unsent - self.transport.get_write_buffer_size() < slowest * STALL_SECONDS:
            self._give_up(f"an answer is read with less than {slowest / 1024:g} KiB/s")
        else:
            self._time_answer()

    def _give_up(self, why: str) -> None:
        log.info("%s: %s", self.client[0] if self.client else "a client", why)
        self.hang_up()

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
