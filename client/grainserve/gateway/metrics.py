"""Metrics of the gateway, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import StorageError
from grainserve.gateway.probe import Probe
from grainserve.jobs.store import JobStore
from grainserve.monitoring.dispatchers import measure

COUNTED = 5000
"""Unfinished jobs are counted up to this number: five listing calls."""
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
"""Methods with a label of their own. All others share one: clients may invent methods, and labels are kept for ever."""
REMEMBERED = 15.0
"""Seconds for which a count is reused, however often it is asked for."""


class Metrics:
    """Metrics of one gateway.

    Args:
        store: job store whose unfinished jobs are counted.
        dispatcher: dispatcher of the gateway; None: it has none.
    """

    def __init__(self, store: JobStore, dispatcher: Dispatcher | None) -> None:
        self._registry = CollectorRegistry()
        self._store = store
        self._unfinished = Probe(self._count, REMEMBERED)
        labels = ("method", "route", "status")
        self._requests = Counter("grainserve_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "grainserve_request_seconds", "Time to answer, s.", ("method", "route"), registry=self._registry
        )
        self._segments = Counter(
            "grainserve_segments",
            "Requests with prompts sent to TorchServe.",
            ("variant", "how"),
            registry=self._registry,
        )
        self._segment_seconds = Histogram(
            "grainserve_segment_seconds",
            "TorchServe's time to answer prompts, s.",
            ("variant",),
            registry=self._registry,
        )
        self._pending = Gauge(
            "grainserve_pending_jobs", f"Unfinished jobs in the bucket, up to {COUNTED}.", registry=self._registry
        )
        if dispatcher:
            measure(dispatcher, self._registry)

    async def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format. While GCS does not answer, the number of jobs is NaN."""
        self._pending.set(await self._unfinished.answer(otherwise=float("nan")))
        return generate_latest(self._registry)

    def _count(self) -> float:
        try:
            return self._store.pending.count(COUNTED)
        except StorageError:
            return float("nan")

    def count_segment(self, variant: str, how: str, seconds: float) -> None:
        """Counts a request with prompts that was sent to TorchServe.

        Args:
            variant: variant that was asked.
            how: `image` or `digest`: what was sent, and there was an answer; `missing`: a digest was sent that no
                worker keeps; `failed`: there was another error.
            seconds: time until the answer came, s.
        """
        self._segments.labels(variant, how).inc()
        self._segment_seconds.labels(variant).observe(seconds)

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Wraps an app so that its requests are counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            begun, status = time.perf_counter(), 500

            async def noted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                # The route's pattern, not the path: with paths, every image id would get a series of its own.
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._requests.labels(method, route, str(status)).inc()
                self._seconds.labels(method, route).observe(time.perf_counter() - begun)

        return counted
