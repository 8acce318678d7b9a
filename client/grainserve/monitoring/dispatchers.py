"""Metrics of a dispatcher, for Prometheus. The dispatcher runs in a gateway or in a process of its own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from grainserve.dispatch.dispatcher import DONE, FAILED, KINDS, RETRIED, Dispatcher
from grainserve.jobs.job import Job

SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
"""Edges of the histograms' buckets, s. A job may wait for a second or, behind a long queue, for a day."""


def measure(dispatcher: Dispatcher, registry: CollectorRegistry) -> None:
    """Adds a dispatcher's metrics to a registry.

    Args:
        dispatcher: dispatcher to measure; its callbacks are set.
        registry: registry of the process.
    """
    in_hand = Gauge("grainserve_jobs_in_hand", "Jobs this process works on.", registry=registry)
    in_hand.set_function(lambda: dispatcher.in_hand)
    ended = Gauge("grainserve_jobs_ended", "Jobs ended here since the start.", ("how",), registry=registry)
    for how in (DONE, FAILED, RETRIED):
        ended.labels(how).set_function(lambda how=how: dispatcher.ended[how])  # type: ignore[misc]
    failures = Gauge(
        "grainserve_thread_failures",
        "Faults of grainserve's own in background threads since the start; each goes on after it.",
        ("thread",),
        registry=registry,
    )
    down = Gauge(
        "grainserve_threads_down", "Threads that have failed and wait to start again.", ("thread",), registry=registry
    )
    for kind in KINDS:
        failures.labels(kind).set_function(lambda kind=kind: dispatcher.supervisor.failures[kind])  # type: ignore[misc]
        down.labels(kind).set_function(lambda kind=kind: dispatcher.supervisor.down.get(kind, 0))  # type: ignore[misc]
    waited, took = (
        Histogram(name, text, ("model",), registry=registry, buckets=SECONDS)
        for name, text in (
            ("grainserve_job_wait_seconds", "From submission to the first request that TorchServe took, s."),
            ("grainserve_job_seconds", "From submission to the stored result, s."),
        )
    )
    queued = Histogram(
        "grainserve_queue_seconds",
        "Time that an answered request spent outside the worker, in TorchServe's queue and on the way, s.",
        ("model", "version"),
        registry=registry,
        buckets=SECONDS,
    )
    dispatcher.on_taken = lambda job, seconds: _first(waited, job, seconds)
    dispatcher.on_answered = lambda result, seconds: _outside(queued, result, seconds)
    dispatcher.on_done = lambda job, seconds: took.labels(job.model).observe(seconds)


def offer(dispatcher: Dispatcher, host: str, port: int) -> int:
    """Serves a dispatcher's metrics to Prometheus from a daemon thread.

    Args:
        dispatcher: dispatcher to measure.
        host: address to listen on.
        port: port to listen on; 0: any free one.

    Returns:
        The port.
    """
    registry = CollectorRegistry()
    measure(dispatcher, registry)
    server, _ = start_http_server(port, host, registry)
    return int(server.server_port)


def _first(waited: Histogram, job: Job, seconds: float) -> None:
    if job.attempts == 1:
        waited.labels(job.model).observe(seconds)


def _outside(queued: Histogram, result: dict[str, Any], seconds: float) -> None:
    """Records the time of a request outside the worker. Skips answers without the needed metadata.

    Args:
        queued: histogram of these times.
        result: result in the answer.
        seconds: time from request to answer, s.
    """
    match result["metadata"]:
        case {"model": str(model), "version": str(version), "processTime": float() | int() as busy}:
            queued.labels(model, version).observe(max(0.0, seconds - busy))
