"""Whether the gateway can do what it is for: a bucket that answers and a worker that is ready."""

from __future__ import annotations

import asyncio
import logging

from grainserve.errors import GrainserveError
from grainserve.gateway.look import Look
from grainserve.protocol import JobStore
from grainserve.torchserve import TorchServe

log = logging.getLogger(__name__)

REMEMBERED = 2.0
"""Seconds for which what was found holds: probes are many."""


class Readiness:
    """Asks GCS and TorchServe.

    Args:
        store: whose bucket must answer.
        torchserve: which must have a READY worker; where its management is out of reach it must answer at all.
        model: whose worker.
        version: its version; None for the default one.
    """

    def __init__(self, store: JobStore, torchserve: TorchServe, model: str, version: str | None) -> None:
        self._store = store
        self._torchserve = torchserve
        self._model = model
        self._version = version
        self._parts = {"bucket": Look(self._bucket, REMEMBERED), "torchserve": Look(self._worker, REMEMBERED)}

    async def problems(self) -> dict[str, str]:
        """What is missing, a code by part (`bucket`, `torchserve`); empty when all is there.

        Anybody may ask: which bucket, and where TorchServe is, only the log says.
        """
        found = await asyncio.gather(*(look.answer(otherwise="no_answer") for look in self._parts.values()))
        return {part: problem for part, problem in zip(self._parts, found, strict=True) if problem}

    def _bucket(self) -> str | None:
        try:
            self._store.pending.count(1)
        except GrainserveError as error:
            log.warning("not ready: %s", error)
            return error.code
        return None

    def _worker(self) -> str | None:
        try:
            if self._torchserve.management is None:
                self._torchserve.ping()
            elif not self._torchserve.ready(self._model, self._version):
                return "no_worker"
        except GrainserveError as error:
            log.warning("not ready: %s", error)
            return error.code
        return None
