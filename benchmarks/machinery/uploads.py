"""The gateway's times for uploads and polls, and its memory under steady uploads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks.machinery.bench import LAB, Bench, png, submit
from grainserve.jobs.store import JobStore

UPLOADS_PER_SECOND = 6
"""Rate of the sustained run; the gateway's eight places could do eight jobs of a second each."""


def latencies(bench: Bench, count: int) -> dict[str, Any]:
    """Times uploads, polls of a waiting job, and submissions without a gateway, one at a time; ms."""
    store, image = bench.store(), png()
    gateway = bench.gateway(store, "--dispatch", "0")
    with gateway.running() as session:
        uploads = _timed(count, lambda: gateway.upload(session, image))
        waiting = submit(store, count)[0]
        polls = _timed(count, lambda: gateway.poll(session, waiting).raise_for_status())
    direct = _timed(count, lambda: submit_one(store, image))
    return {
        "upload": _summary(uploads),
        "poll_of_a_queued_job": _summary(polls),
        "submit_without_gateway": _summary(direct),
    }


def sustained(bench: Bench, minutes: float) -> dict[str, Any]:
    """Records the memory, MiB, of a gateway that dispatches, under steady uploads that are each polled once."""
    store, image = bench.store(), png()
    gateway = bench.gateway(store, "--dispatch", "8")
    samples: list[tuple[float, float]] = []
    uploaded, behind = 0, 0.0
    with gateway.running() as session:
        process, began = psutil.Process(gateway.part.pid), time.monotonic()
        while (now := time.monotonic() - began) < 60 * minutes:
            gateway.poll(session, gateway.upload(session, image)).raise_for_status()
            uploaded += 1
            if not samples or now - samples[-1][0] >= 10:
                samples.append((round(now, 1), round(process.memory_info().rss / 2**20, 2)))
            ahead = uploaded / UPLOADS_PER_SECOND - (time.monotonic() - began)
            behind = max(behind, -ahead)
            time.sleep(max(0.0, ahead))
        left = store.pending.count(1000)
    later = [each for each in samples if each[0] >= 60] or samples
    slope = statistics.linear_regression(*zip(*later, strict=True)).slope if len(later) > 1 else 0.0
    return {
        "minutes": minutes,
        "uploads": uploaded,
        "most_seconds_behind": round(behind, 2),
        "unfinished_at_the_end": left,
        "mib_after_the_first_minute": later[0][1],
        "mib_at_the_end": later[-1][1],
        "mib_per_hour": round(3600 * slope, 3),
        "samples": samples,
    }


def submit_one(store: JobStore, image: bytes) -> None:
    """The same three writes without a gateway."""
    store.submit(image, model="sam_tiny", version=None, options={}, submitter=LAB)


def _timed(count: int, ask: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - began))
    return times


def _summary(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {"p50": round(statistics.median(ordered), 2), "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2)}
