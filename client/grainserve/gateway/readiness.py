"""Whether the gateway can do what it is for: a bucket that answers and a worker that is ready."""

from __future__ import annotations

import threading
import time

from grainserve.errors import GrainserveError
from grainserve.protocol import JobStore
from grainserve.torchserve import TorchServe

REMEMBERED = 2.0
"""Seconds for which what was found holds: probes are many."""


class Readiness:
    """Asks GCS and TorchServe.

    Args:
        store: whose bucket must answer.
        torchserve: which must have a READY worker; where its management is out of reach it must answer at all.
        model: whose worker.
    """

    def __init__(self, store: JobStore, torchserve: TorchServe, model: str) -> None:
        self._store = store
        self._torchserve = torchserve
        self._model = model
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._problems: dict[str, str] = {}

    def problems(self) -> dict[str, str]:
        """What is missing, by part: `bucket`, `torchserve`; empty when all is there."""
        with self._lock:
            if time.monotonic() - self._asked > REMEMBERED:
                checks = {"bucket": self._bucket, "torchserve": self._worker}
                found = {part: check() for part, check in checks.items()}
                self._problems = {part: problem for part, problem in found.items() if problem}
                self._asked = time.monotonic()
            return self._problems

    def _bucket(self) -> str | None:
        try:
            self._store.pending.count(1)
        except GrainserveError as error:
            return str(error)
        return None

    def _worker(self) -> str | None:
        try:
            if self._torchserve.management is None:
                self._torchserve.ping()
            elif not self._torchserve.ready(self._model):
                return f"model {self._model} has no worker that is ready"
        except GrainserveError as error:
            return str(error)
        return None
