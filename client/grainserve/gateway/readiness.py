"""Readiness of a gateway: its bucket answers and, if it has a TorchServe, a worker is ready.

If it has a dispatcher, all threads of the dispatcher must be running as well.
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
"""Seconds for which an answer is reused, because probes are frequent."""


class Readiness:
    """Checks of GCS, TorchServe and the dispatcher.

    Args:
        store: job store whose bucket must answer.
        torchserve: TorchServe that must have a READY worker, or just answer where its management is out of reach. None:
            other processes do the work. Jobs then wait in the bucket, so new ones are taken even without a worker.
        model: model that must have a worker.
        version: model version; None: the default version.
        dispatcher: dispatcher of the gateway; None: it has none.
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
        """Returns a code for each part that is not ready: `bucket`, `torchserve`, `dispatcher`; empty if all are.

        Anybody may ask, so the answer holds no addresses: only the log names the bucket and TorchServe.
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
