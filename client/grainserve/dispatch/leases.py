"""The jobs a dispatcher has in hand: claimed, their leases kept alive, ended or given back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from grainserve.dispatch.supervisor import Supervisor
from grainserve.errors import ImageNotFound, InvalidJob, StorageError
from grainserve.jobs.markers import Ticket
from grainserve.jobs.records import LeaseLost
from grainserve.jobs.store import Claim, JobStore, Later

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to wait for claims that are being made when all is given back: longer than storage calls are retried."""
LEASES = "lease renewal"
"""What the supervisor calls the threads of this module."""


class Held:
    """A claimed job, its lease renewed in the background until `end`.

    Attributes:
        claim: the claim with its latest record.
        lost: whether the job is another's, or nobody's, by now; what was found is still worth storing.
        given_back: whether it was put back into the queue; what is found after that is not stored, as this process may
            end at any moment, and the job may be cancelled.
    """

    def __init__(self, store: JobStore, claim: Claim, supervisor: Supervisor) -> None:
        self.claim = claim
        self.lost = False
        self.given_back = False
        self._store = store
        self._ended = threading.Event()
        self._renewed = time.monotonic()
        self._thread = supervisor.start(LEASES, self._renew, self._ended)

    def end(self) -> Claim:
        """Renews no more; returns the claim as it now is."""
        self._ended.set()
        self._thread.join()
        return self.claim

    def give_back(self) -> None:
        """Puts the job back into the queue, the attempt taken back."""
        self.lost = self.given_back = True
        claim = self.end()
        try:
            self._store.release(claim)
        except (StorageError, ImageNotFound, InvalidJob) as error:
            log.warning("job of image %s could not be given back: %s", claim.job.image_id, error)

    def _renew(self) -> None:
        # A third: two renewals may go wrong before the lease runs out.
        every = self._store.lease.total_seconds() / 3
        while not self._ended.wait(max(0.0, self._renewed + every - time.monotonic())):
            try:
                self.claim = self._store.renew(self.claim)
            except (LeaseLost, InvalidJob):
                self.lost = True
                return
            except StorageError as error:
                log.warning("lease of image %s not renewed: %s", self.claim.job.image_id, error)
            self._renewed = time.monotonic()


class HeldJobs:
    """All that one dispatcher holds.

    Args:
        store: where jobs are claimed.
        owner: in whose name.
        supervisor: of the threads that renew leases.
    """

    def __init__(self, store: JobStore, owner: str, supervisor: Supervisor) -> None:
        self._store = store
        self._supervisor = supervisor
        self._owner = owner
        self._changed = threading.Condition()
        self._claiming = 0
        self._held: dict[str, Held] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def claim(self, ticket: Ticket) -> Iterator[Held | Later | None]:
        """Tries to take a job and holds it until the end of the block; else gives what `JobStore.claim` says.

        Raises:
            StorageError, InvalidJob: as `JobStore.claim`.
        """
        with self._changed:
            if not self._closed:
                self._claiming += 1
            closed = self._closed
        if closed:
            yield Later(0.0)
            return
        held = None
        try:
            taken = self._store.claim(ticket, self._owner)
            held = Held(self._store, taken, self._supervisor) if isinstance(taken, Claim) else None
        finally:
            # At once: what is claimed and not yet held could not be given back.
            with self._changed:
                self._claiming -= 1
                if held:
                    self._held[ticket.image_id] = held
                self._changed.notify_all()
        if held is None:
            yield taken if isinstance(taken, Later) else None
            return
        try:
            yield held
        finally:
            held.end()
            with self._changed:
                self._held.pop(ticket.image_id, None)

    def give_back(self) -> int:
        """Puts everything back and takes nothing more; returns how many jobs that were."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._claiming == 0, PATIENCE)
            left = list(self._held.values())
            self._held.clear()
        for held in left:
            held.give_back()
        return len(left)
