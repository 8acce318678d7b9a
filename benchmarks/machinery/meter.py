"""Proxies that count dispatchers' calls to storage by kind; one also lists from an index, as GCS does."""

from __future__ import annotations

import http.client
import json
import threading
from bisect import bisect_left, insort
from collections import Counter
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.faults.proxy import Call, Proxy, what

Answer = tuple[int, list[tuple[str, str]], bytes]


class Meter(Proxy):
    """A proxy that passes everything on, and counts.

    GCS does not charge for 4xx answers, so calls that found no object or lost a compare-and-swap are counted
    separately.

    Attributes:
        charged: requests answered with 2xx, by kind.
        refused: requests answered with 4xx, by kind and status.
        listed: number of names in listings.
    """

    def __enter__(self) -> Self:
        self.charged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.listed = 0
        self._counting = threading.Lock()
        super().__enter__()
        return self

    def kinds(self) -> tuple[Counter[str], Counter[str]]:
        """Returns copies of `charged` and `refused`."""
        with self._counting:
            return self.charged.copy(), self.refused.copy()

    def _ask_storage(self, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        call = what(asker.command, asker.path, body)
        try:
            status, headers, data = self._answer(call, asker, body)
        except (OSError, http.client.HTTPException):
            with self._counting:
                self.refused[f"{call.verb} {call.folder} unanswered"] += 1
            raise
        kind = f"{call.verb} {call.folder}".strip()
        with self._counting:
            if status < 400:
                self.charged[kind] += 1
                self.listed += _names(data) if call.verb == "list" else 0
            else:
                self.refused[f"{kind} {status}"] += 1
        return status, headers, data

    def _answer(self, call: Call, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return super()._ask_storage(asker, body)


class IndexedMeter(Meter):
    """A meter that answers listings of `pending/` itself, from an index as fast with a million names as with ten.

    So does GCS. The emulator reads every marker for every listing: with 100,000 markers that takes a processor 1.7 s,
    while writes wait. Without the index the benchmark would measure how dispatchers wait for each other's listings.

    Args:
        target: URL of the emulator.
        names: names of all existing markers.
    """

    def __init__(self, target: str, names: list[str]) -> None:
        super().__init__(target)
        self.names = sorted(names)
        self._indexing = threading.Lock()

    def _answer(self, call: Call, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        if call.verb == "list":
            question = {key: values[0] for key, values in parse_qs(urlsplit(asker.path).query).items()}
            data = json.dumps(self._list(question)).encode()
            # `grainserve.storage.clock` needs the answers' dates.
            return 200, [("Content-Type", "application/json"), ("Date", formatdate(usegmt=True))], data
        answer = super()._answer(call, asker, body)
        if call.folder == "pending" and answer[0] < 300:
            with self._indexing:
                place = bisect_left(self.names, call.name)
                there = self.names[place : place + 1] == [call.name]
                if call.verb == "create" and not there:
                    insort(self.names, call.name)
                elif call.verb == "delete" and there:
                    del self.names[place]
        return answer

    def _hold_to_generation(self, call: Call, asker: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return self._ask_storage(asker, body)  # the index has no generations

    def _list(self, question: dict[str, str]) -> dict[str, Any]:
        """Answers a page of the listings that a bucket asks for: a prefix, with start and limit or with a delimiter."""
        prefix, most = question["prefix"], int(question.get("maxResults", 1000))
        with self._indexing:
            place = bisect_left(self.names, max(prefix, question.get("startOffset", ""), question.get("pageToken", "")))
            if "delimiter" not in question:
                page = [name for name in self.names[place : place + most + 1] if name.startswith(prefix)]
                more = {"nextPageToken": page.pop()} if len(page) > most else {}
                written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                return {
                    "items": [{"name": name, "generation": "1", "timeCreated": written, "size": "0"} for name in page],
                    **more,
                }
            folders: list[str] = []
            while place < len(self.names) and self.names[place].startswith(prefix):
                folders.append(prefix + self.names[place].removeprefix(prefix).partition("/")[0] + "/")
                place = bisect_left(self.names, f"{folders[-1]}\U0010ffff")
            return {"prefixes": folders}


def _names(data: bytes) -> int:
    page = json.loads(data)
    return len(page.get("items", [])) + len(page.get("prefixes", []))
