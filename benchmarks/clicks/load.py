"""Clients that click, and how long they wait."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests

TIMEOUT = 600


@dataclass(frozen=True)
class Route:
    """An address that answers requests.

    Attributes:
        name: `torchserve`, `gateway` or `stock`.
        url: address.
        body: fields of each request beside those of the click.
        headers: headers of each request.
    """

    name: str
    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def points(side: int, count: int) -> list[list[float]]:
    """Returns points in an image of side × side px, the same ones at each call."""
    return np.random.default_rng(5).uniform(1, side - 1, (count, 2)).round(1).tolist()  # type: ignore[no-any-return]


def ask(session: requests.Session, route: Route, body: Mapping[str, Any]) -> dict[str, Any]:
    """Sends one request; returns its answer.

    Raises:
        requests.HTTPError: the answer is no 200.
    """
    answer = session.post(route.url, json={**route.body, **body}, headers=dict(route.headers), timeout=TIMEOUT)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def click(route: Route, bodies: list[dict[str, Any]], clients: int, count: int) -> dict[str, float]:
    """Measures clients, each of which sends the next request as soon as it has an answer.

    Args:
        route: where the requests go.
        bodies: what they hold; each client goes around in them.
        clients: number of clients.
        count: requests of each client.

    Returns:
        p50, p95 and p99 of the time to an answer, ms, and answers per second.
    """

    def client(number: int) -> list[float]:
        waited = []
        with requests.Session() as session:
            for body in itertools.islice(itertools.cycle(bodies[number:] + bodies[:number]), count):
                began = time.perf_counter()
                ask(session, route, body)
                waited.append(1e3 * (time.perf_counter() - began))
        return waited

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        waited = [each for some in pool.map(client, range(clients)) for each in some]
    seconds = time.perf_counter() - began
    p50, p95, p99 = (round(float(each), 1) for each in np.percentile(waited, (50, 95, 99)))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_second": round(len(waited) / seconds, 2)}


@contextmanager
def saturated(route: Route, clients: int) -> Iterator[list[float]]:
    """Clients that ask all the time meanwhile; yields the times that they have waited so far, s."""
    enough, waited = threading.Event(), list[float]()

    def client() -> None:
        with requests.Session() as session:
            while not enough.is_set():
                began = time.perf_counter()
                ask(session, route, {})
                waited.append(time.perf_counter() - began)

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(client) for _ in range(clients)]
        try:
            yield waited
        finally:
            enough.set()
        for future in futures:
            future.result()


def median_ms(seconds: list[float]) -> float:
    """Returns the median in ms."""
    return round(1e3 * statistics.median(seconds), 2)
