"""Whether the gateway can do what it is for: a bucket that answers and, if work goes through it, a ready worker.

A gateway that dispatches must also have all the threads of its dispatcher at work.
"""

from __future__ import annotations

import asyncio
import logging

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.errors import GrainserveError
from grainserve.gateway.probe import Probe
from grainserve.jobs.store import JobStore
from grainserve.torchserve.inference import TorchServe

log = logging.getLogger(__name__)

REMEMBERED = 2.0
"""Seconds for which what was found holds: probes are many."""


class Readiness:
    """Asks GCS and TorchServe.

    Args:
        store: whose bucket must answer.
        torchserve: which must have a READY worker; where its management is out of reach it must answer at all. None
            where others do the work: jobs wait for them in the bucket, so their absence is no reason to refuse one.
        model: whose worker.
        version: its version; None for the default one.
        dispatcher: the gateway's own, if it has one.
    """

    def __init__(
        self,
        store: JobStore,
        torchserve: TorchServe | None,
        model: str,
        version: str | None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self._store = store
        self._model = model
        self._version = version
        self._parts = {"bucket": Probe(self._bucket, REMEMBERED)}
        if torchserve:
            self._parts["torchserve"] = Probe(lambda: self._worker(torchserve), REMEMBERED)
        self._dispatcher = dispatcher

    async def problems(self) -> dict[str, str]:
        """Codes of what is missing, by part (`bucket`, `torchserve`, `dispatcher`); empty when all is there.

        Anybody may ask: which bucket, and where TorchServe is, only the log says.
        """
        found = await asyncio.gather(*(look.answer(otherwise="no_answer") for look in self._parts.values()))
        problems = {part: problem for part, problem in zip(self._parts, found, strict=True) if problem}
        if self._dispatcher and self._dispatcher.supervisor.down:
            problems["dispatcher"] = "thread_down"  # which and why is in the log
        return problems

    def _bucket(self) -> str | None:
        try:
            self._store.pending.count(1)
            self._store.bucket.check_room()
        except GrainserveError as error:
            log.warning("not ready: %s", error)
            return error.code
        return None

    def _worker(self, torchserve: TorchServe) -> str | None:
        try:
            if torchserve.management is None:
                torchserve.ping()
            elif not torchserve.management.ready(self._model, self._version):
                return "no_worker"
        except GrainserveError as error:
            log.warning("not ready: %s", error)
            return error.code
        return None
