"""Waits until no request is queued or worked on, so that TorchServe may be ended without losing one.

TorchServe has no switch that refuses new requests, and on SIGTERM it breaks connections within half a second. So
whoever sends requests must be told first: from the beginning of a drain `ready` says no; Kubernetes takes the pod out
of its Services at the same moment as it calls preStop. What still arrives while that spreads is answered.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from image.log import say
from image.management import Management, Refused, Unreachable

DRAINING = Path(tempfile.gettempdir(), "grainserve-draining")
"""There from the beginning of a drain until the container ends."""

SETTLE, DRAIN = "GRAINSERVE_SETTLE_SECONDS", "GRAINSERVE_DRAIN_SECONDS"
_PAUSE = 0.2


def drain(management: Management, *, settle: float, patience: float, marker: Path = DRAINING) -> bool:
    """Marks the container as draining and waits until it is idle.

    Args:
        management: The TorchServe.
        settle: Seconds for which requests may still arrive; not waited for again by a second drain.
        patience: Seconds to wait then.
        marker: The file that says so to `ready`.

    Returns:
        Whether it is idle; False when `patience` ran out.

    Raises:
        Unreachable: TorchServe does not answer.
    """
    first = not marker.exists()
    marker.touch()
    if first:
        time.sleep(settle)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        taken = management.requests_taken()
        versions = _versions(management)
        if not any(map(_queued, versions)):
            for described in versions:
                _pass_barriers(management, described, deadline)
            # Nothing was queued, each worker has answered since, and no request came meanwhile.
            if time.monotonic() < deadline and management.requests_taken() == taken:
                return True
        time.sleep(_PAUSE)
    return False


def pending(management: Management) -> int:
    """Requests that wait for a worker, over all versions."""
    return sum(map(_queued, _versions(management)))


def _versions(management: Management) -> list[dict[str, Any]]:
    return [described for model in management.models() for described in management.versions(model)]


def _queued(described: dict[str, Any]) -> int:
    return int(described["jobQueueStatus"]["pendingRequests"])


def _pass_barriers(management: Management, described: dict[str, Any], deadline: float) -> None:
    """Returns when every READY worker of a version has answered a barrier, or at the deadline.

    A barrier goes to whichever worker is free, so they are sent until those that were busy have had one too.
    """
    model, version = described["modelName"], described["modelVersion"]
    answered: set[int] = set()
    while missing := _workers(described) - answered:
        if time.monotonic() > deadline:
            return
        pids = _barriers(management, model, version, len(missing), deadline)
        # A handler that does not tell its process id is known by being the only one.
        answered |= _workers(described) if pids == [None] and len(_workers(described)) == 1 else {*filter(None, pids)}
        if _workers(described) <= answered:
            return
        time.sleep(_PAUSE)
        described = next((each for each in management.versions(model) if each["modelVersion"] == version), _GONE)


_GONE: dict[str, Any] = {"workers": []}


def _workers(described: dict[str, Any]) -> set[int]:
    return {worker["pid"] for worker in described["workers"] if worker["status"] == "READY"}


def _barriers(management: Management, model: str, version: str, count: int, deadline: float) -> list[int | None]:
    """Sends barriers at once; returns the process ids in those answers that came."""

    def one(_: int) -> list[int | None]:
        try:
            return [management.barrier(model, version, timeout=max(1.0, deadline - time.monotonic()))]
        except Refused:  # the queue is full, the worker died, or the version was deleted: the next round tells
            return []

    with ThreadPoolExecutor(max_workers=count) as pool:
        return [pid for pids in pool.map(one, range(count)) for pid in pids]


def from_environment(management: Management) -> bool:
    """Drains for as long as the environment variables say, and logs how it ended."""
    began = time.monotonic()
    patience = float(os.environ.get(DRAIN, "600"))
    try:
        idle = drain(management, settle=float(os.environ.get(SETTLE, "5")), patience=patience)
    except Unreachable as error:
        say(f"nothing to drain: {error}")
        return True
    seconds = time.monotonic() - began
    if idle:
        say(f"drained in {seconds:.1f} s: no request is queued or worked on")
    else:
        say(f"not idle after {seconds:.0f} s ({DRAIN}={patience:.0f}): {pending(management)} requests wait", "ERROR")
    return idle


def main() -> int:
    """Command line entry: `drain`, what a preStop hook calls."""
    return 0 if from_environment(Management()) else 1


if __name__ == "__main__":
    sys.exit(main())
