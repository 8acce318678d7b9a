"""Keeps a claim's lease alive while the work goes on."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from grainserve.errors import StorageError
from grainserve.protocol import Claim, JobStore, LeaseLost

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a claim's lease in the background.

    Attributes:
        claim: the claim with its latest record.
        lost: whether another has changed the record; what was found is still worth storing.
    """

    def __init__(self, store: JobStore, claim: Claim) -> None:
        self.claim = claim
        self.lost = False
        self._store = store
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="grainserve-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> Claim:
        """Renews no more; returns the claim as it now is."""
        self._ended.set()
        self._thread.join()
        return self.claim

    def _renew(self) -> None:
        # A third: two renewals may go wrong before the lease runs out.
        while not self._ended.wait(self._store.lease.total_seconds() / 3):
            try:
                self.claim = self._store.renew(self.claim)
            except LeaseLost:
                self.lost = True
                return
            except StorageError as error:
                log.warning("lease of image %s not renewed: %s", self.claim.job.image_id, error)
