"""A proxy between grainserve and the GCS emulator that loses, delays and spoils requests and answers.

It also answers in GCS's place, as a load balancer, a portal or a broken cache does. And it counts what storage did,
even if the process that asked has died.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""
JSON = [("Content-Type", "application/json")]
HTML = [("Content-Type", "text/html")]
PAGE = b"<html><body><h1>Sorry</h1><p>The page you asked for is not here.</p></body></html>"
DAY = 24 * 3600.0
DATES = (DAY, -20_000 * DAY)
"""Errors of the wrong dates, s: tomorrow, and the seventies."""
NO_ANSWERS = (b"", PAGE, b"null", b"[]", b'"moved"', b'{"items": "moved", "name": null, "generation": "one"}')
"""Malformed answers to requests for JSON."""
ELSEWHERE = "/elsewhere"
"""Target of redirects, which nobody may follow."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Call:
    """A request to storage by kind: `create results/…`, `replace jobs/…`, `read images/…`, `list`, …"""

    verb: str
    name: str

    @property
    def folder(self) -> str:
        """The first part of the object's name."""
        return self.name.partition("/")[0]


@dataclass
class Mischief:
    """Probabilities, 0…1, of what happens to a request.

    Attributes:
        delay: it takes up to `seconds` longer.
        lose_request: the connection is closed before storage has heard of it.
        lose_answer: storage carries the request out, and the answer is lost.
        refuse: the answer is 503, as from an overloaded GCS.
        spoil: a byte of the answer is flipped, or a JSON answer is cut short.
        page: the answer is a load balancer's page with 404. This and the next two do not reach storage.
        misdate: the answer is 503 with a date of tomorrow, or of long ago.
        redirect: the answer is 307 to another place.
        malform: storage carries the request out, and the answer is 200 with a page, or with meaningless JSON.
        exchange: storage carries the request out, and the answer is that to another request of its kind.
        seconds: longest delay, s.
    """

    delay: float = 0.0
    lose_request: float = 0.0
    lose_answer: float = 0.0
    refuse: float = 0.0
    spoil: float = 0.0
    page: float = 0.0
    misdate: float = 0.0
    redirect: float = 0.0
    malform: float = 0.0
    exchange: float = 0.0
    seconds: float = 0.5


@dataclass
class Proxy:
    """A proxy on a free port of loopback.

    It checks the generation of deletions, as GCS does and the emulator does not.

    Attributes:
        target: URL of the emulator.
        chance: source of random decisions.
        mischief: probabilities of faults.
        before: called with each request before it reaches storage.
        after: called with each request and storage's status, before it is answered.
        instead: answers a request in storage's place, so that it does not reach storage; returns None to pass it on.
        calls: number of requests that storage answered with 2xx, by kind.
        heard: number of all requests, by kind.
        injected: number of injected faults, by kind.
        elsewhere: descriptions of requests that followed a redirect.
        written: number of times that each result was written for one job; a new job begins a new count.
    """

    target: str
    chance: random.Random = field(default_factory=random.Random)
    mischief: Mischief = field(default_factory=Mischief)
    before: Callable[[Call], None] = lambda call: None
    after: Callable[[Call, int], None] = lambda call, status: None
    instead: Callable[[Call], Answer | None] = lambda call: None
    calls: Counter[str] = field(default_factory=Counter)
    heard: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    elsewhere: list[str] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._one_at_a_time: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._writes: Counter[str] = Counter()
        self._last: dict[tuple[str, str], tuple[str, bytes]] = {}
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                proxy._pass_on(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _happens(self, kind: str) -> bool:
        with self._lock:
            happens: bool = self.chance.random() < getattr(self.mischief, kind)
            self.injected[kind] += happens
        return happens

    def _pass_on(self, asker: BaseHTTPRequestHandler) -> None:
        body = asker.rfile.read(int(asker.headers.get("Content-Length", 0)))
        call = what(asker.command, asker.path, body)
        with self._lock:
            self.heard[f"{call.verb} {call.folder}".strip()] += 1
            if asker.path.startswith(ELSEWHERE):
                self.elsewhere.append(f"{asker.command} {asker.path} by {asker.headers.get('User-Agent')}")
        self.before(call)
        if said := self.instead(call) or self._in_its_place():
            _reply(asker, *said)
            return
        if self._happens("lose_request"):
            asker.close_connection = True
            return
        if self._happens("delay"):
            time.sleep(self.chance.uniform(0, self.mischief.seconds))
        try:
            status, headers, data = self._hold_to_generation(call, asker, body)
        except (OSError, http.client.HTTPException, requests.RequestException):  # the emulator was killed
            asker.close_connection = True
            return
        self.after(call, status)
        if self._happens("lose_answer"):
            asker.close_connection = True
            return
        if data and self._happens("spoil"):
            place = self.chance.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] if call.verb == "read" else data[:place]
        if status < 300:
            headers, data = self._confuse(call, asker.path, headers, data)
        _reply(asker, status, headers, data)

    def _in_its_place(self) -> Answer | None:
        """Returns an answer in storage's place, if there is one."""
        if self._happens("refuse"):
            return 503, [], b"{}"
        if self._happens("page"):
            return 404, HTML, PAGE
        if self._happens("misdate"):
            return 503, [("Date", formatdate(time.time() + self.chance.choice(DATES), usegmt=True))], b"{}"
        if self._happens("redirect"):
            return 307, [("Location", f"{self.url}{ELSEWHERE}")], b""
        return None

    def _confuse(
        self, call: Call, path: str, headers: list[tuple[str, str]], data: bytes
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Replaces storage's answer by a meaningless one, or by one to another request."""
        kind, question = (call.verb, call.folder), call.name or path
        with self._lock:
            before, other = self._last.get(kind, (question, b""))
            self._last[kind] = (question, data)
        if data and self._happens("malform"):
            return (HTML, PAGE) if call.verb == "read" else (JSON, self.chance.choice(NO_ANSWERS))
        # The bytes of another object come with this object's checksum, or nothing could tell them apart.
        if other and before != question and self._happens("exchange"):
            return headers, other
        return headers, data

    def _count(self, call: Call) -> None:
        with self._lock:
            self.calls[f"{call.verb} {call.folder}"] += 1
            if call.verb == "create" and call.folder == "jobs":
                self._writes.pop(f"results/{call.name.partition('/')[2]}", None)
            if call.verb in ("create", "replace") and call.folder == "results":  # with or without a precondition
                self._writes[call.name] += 1
                self.written[call.name] = max(self.written[call.name], self._writes[call.name])

    def _hold_to_generation(self, call: Call, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        """Passes a request to storage; a deletion only if the object has the generation that it names."""
        if call.verb not in ("create", "replace", "delete"):
            return self._ask_and_count(call, asker, body)
        with self._lock:
            alone = self._one_at_a_time[call.name]
        with alone:
            expected = re.search(r"ifGenerationMatch=(\d+)", asker.path) if call.verb == "delete" else None
            if expected:
                there = requests.get(f"{self.target}{urlsplit(asker.path).path}", timeout=30)
                if there.ok and there.json()["generation"] != expected[1]:
                    return 412, JSON, json.dumps({"error": {"code": 412, "message": "conditionNotMet"}}).encode()
            return self._ask_and_count(call, asker, body)

    def _ask_and_count(self, call: Call, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        answer = self._ask_storage(asker, body)
        if answer[0] < 300:
            self._count(call)
        return answer

    def _ask_storage(self, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(str(urlsplit(self.target).netloc), timeout=30)
        try:
            headers = {name: value for name, value in asker.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(asker.command, asker.path, body or None, headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            return answer.status, kept, answer.read()
        finally:
            connection.close()


def _reply(asker: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
    asker.send_response_only(status)
    for name, value in headers:
        asker.send_header(name, value)
    asker.send_header("Content-Length", str(len(data)))
    asker.end_headers()
    asker.wfile.write(data)


def what(method: str, path: str, body: bytes) -> Call:
    """Returns the kind of a request to GCS's JSON API."""
    if "/upload/" in path:
        found = re.search(rb'"name":\s*"([^"]+)"', body)
        name = found.group(1).decode() if found else "?"
        return Call("create" if re.search(r"ifGenerationMatch=0(?:&|$)", path) else "replace", name)
    _, _, rest = urlsplit(path).path.partition("/o/")
    if not rest:
        return Call("list", "")
    verb = {"DELETE": "delete", "GET": "read" if "alt=media" in path else "look up"}.get(method, method)
    return Call(verb, unquote(rest))
