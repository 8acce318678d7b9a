"""Waits until no request is queued or worked on, so that TorchServe can end without losing a request.

TorchServe cannot refuse new requests, and on SIGTERM it breaks connections within half a second. So senders must stop
first: once a drain begins, `ready` fails, and Kubernetes takes the pod out of its Services when it calls preStop.
Requests that arrive until this has spread are answered.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from image.log import say
from image.management import Management, Refused, Unreachable

DRAINING = Path(tempfile.gettempdir(), "grainserve-draining")
"""A file that exists from the beginning of a drain until the container ends."""

SETTLE, DRAIN = "GRAINSERVE_SETTLE_SECONDS", "GRAINSERVE_DRAIN_SECONDS"
_PAUSE, _LOOK = 0.2, 1.0


def drain(management: Management, *, settle: float, patience: float, marker: Path = DRAINING) -> bool:
    """Marks the container as draining and waits until it is idle.

    Args:
        management: management of the TorchServe.
        settle: time for which requests may still arrive, s; a second drain skips it.
        patience: longest wait after that, s.
        marker: file that tells `ready` of the drain.

    Returns:
        Whether TorchServe is idle. True also if nothing listens at the beginning; False if `patience` ran out or
        TorchServe ended meanwhile.
    """
    first = not marker.exists()
    marker.touch()
    if not management.listens():
        say(f"nothing to drain: nobody listens at {management.url}")
        return True
    if first:
        time.sleep(settle)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and management.listens():
        # A machine under load answers late, and a model may be deleted between two requests: neither means idle.
        with suppress(Refused, Unreachable):
            if _idle(management, deadline):
                return True
        time.sleep(_PAUSE)
    return False


def left(management: Management) -> str:
    """Returns in words which requests are lost if TorchServe ends now."""
    try:
        queued = str(sum(map(_queued, _versions(management))))
    except (Refused, Unreachable) as error:
        queued = f"nobody knows how many ({error})"
    return f"requests in queues: {queued}; those that workers have in hand come on top"


def limits(environment: Mapping[str, str]) -> tuple[float, float]:
    """Returns the seconds to settle and the seconds to wait after that.

    Args:
        environment: environment variables; `SETTLE` and `DRAIN` may be set.

    Raises:
        ValueError: a variable is no number of seconds; the message names it.
    """
    return _seconds(environment, SETTLE, "5"), _seconds(environment, DRAIN, "600")


def _seconds(environment: Mapping[str, str], variable: str, usual: str) -> float:
    text = environment.get(variable, usual)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{variable}={text} is no number of seconds")
    return seconds


def _idle(management: Management, deadline: float) -> bool:
    taken = management.requests_taken()
    versions = _versions(management)
    if any(map(_queued, versions)):
        return False
    for described in versions:
        _pass_barriers(management, described["modelName"], described["modelVersion"], deadline)
    # Idle: nothing was queued, each worker has answered since then, and no request came meanwhile.
    return time.monotonic() < deadline and management.requests_taken() == taken


def _versions(management: Management) -> list[dict[str, Any]]:
    return [described for model in management.models() for described in management.versions(model)]


def _queued(described: dict[str, Any]) -> int:
    return int(described["jobQueueStatus"]["pendingRequests"])


def _pass_barriers(management: Management, model: str, version: str, deadline: float) -> None:
    """Waits until every READY worker of a version has answered a barrier, or until the deadline.

    A barrier goes to any free worker, so barriers are sent until the busy workers have answered one too.
    """
    answered: set[int] = set()
    while missing := (ready := _workers(management, model, version)) - answered:
        if time.monotonic() > deadline:
            return
        pids = _barriers(management, model, version, len(missing), deadline)
        # A handler that does not return its process id can only be told apart if it is the only worker.
        answered |= ready if pids == [None] and len(ready) == 1 else {*filter(None, pids)}
        time.sleep(_PAUSE)


def _workers(management: Management, model: str, version: str) -> set[int]:
    """Returns the process ids of a version's READY workers; none if the version was deleted."""
    found = [each["workers"] for each in management.versions(model) if each["modelVersion"] == version]
    return {worker["pid"] for workers in found for worker in workers if worker["status"] == "READY"}


def _barriers(management: Management, model: str, version: str, count: int, deadline: float) -> list[int | None]:
    """Sends barriers, all at once; returns the process ids in the answers that came.

    It returns only when they are answered or given up: a barrier in the queue takes the place of a request, so none may
    pile up.
    """
    pids: list[int | None] = []

    def send() -> None:
        # Refused: the queue is full, the worker died, or the version was deleted. The next round finds out.
        with suppress(Refused, Unreachable):
            pids.append(management.barrier(model, version, timeout=max(_LOOK, deadline - time.monotonic())))

    # Daemon threads: a barrier without an answer must not keep the process alive.
    threads = [threading.Thread(target=send, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    while waiting := [thread for thread in threads if thread.is_alive()]:
        waiting[0].join(_LOOK)
        if time.monotonic() > deadline or (waiting[0].is_alive() and _deleted(management, model, version)):
            break
    return list(pids)


def _deleted(management: Management, model: str, version: str) -> bool:
    """Tells whether a version is gone. The requests in its queue are then lost, without an answer."""
    try:
        return version not in [each["modelVersion"] for each in management.versions(model)]
    except Refused:
        return True
    except Unreachable:
        return False


def from_environment(management: Management) -> bool:
    """Drains for as long as the environment variables say, and logs how it ended; returns whether TorchServe is idle.

    Raises:
        ValueError: a variable is no number of seconds.
    """
    settle, patience = limits(os.environ)
    began = time.monotonic()
    idle = drain(management, settle=settle, patience=patience)
    seconds = time.monotonic() - began
    if idle:
        say(f"drained in {seconds:.1f} s: no request is queued or worked on")
    else:
        say(f"not idle after {seconds:.0f} s ({DRAIN}={patience:.0f}); {left(management)}", "ERROR")
    return idle


def main() -> int:
    """Command line entry: `drain`, which a preStop hook calls."""
    try:
        return 0 if from_environment(Management()) else 1
    except ValueError as error:
        say(str(error), "ERROR")
        return 1


if __name__ == "__main__":
    sys.exit(main())
