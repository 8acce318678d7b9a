"""The jobs that a dispatcher has in hand: claims them, keeps their leases alive, ends them or gives them back."""

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
"""Seconds to wait for claims under way before all jobs are given back: longer than storage calls are retried."""
LEASES = "lease renewal"
"""The supervisor's name for the threads of this module."""


class Held:
    """A claimed job, whose lease is renewed in the background until `end`.

    Attributes:
        claim: claim with the latest record.
        lost: whether the job has meanwhile become another dispatcher's, or nobody's; its result is still worth storing.
        given_back: whether the job was put back into the queue. A result that comes after that is not stored, as this
            process may end at any moment, and the job may be cancelled.
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
        """Stops renewing the lease; returns the claim with the latest record."""
        self._ended.set()
        self._thread.join()
        return self.claim

    def give_back(self) -> None:
        """Puts the job back into the queue, without counting its attempt."""
        self.lost = self.given_back = True
        claim = self.end()
        try:
            self._store.release(claim)
        except (StorageError, ImageNotFound, InvalidJob) as error:
            log.warning("job of image %s could not be given back: %s", claim.job.image_id, error)

    def _renew(self) -> None:
        # A third of the lease: two renewals may go wrong before it runs out.
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
    """All jobs that one dispatcher holds.

    Args:
        store: store to claim jobs from.
        owner: name of the dispatcher.
        supervisor: supervisor of the threads that renew leases.
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
        """Claims a job and holds it until the end of the block.

        Yields:
            The job; or `Later` or None as `JobStore.claim` returns them, if the job cannot be claimed.

        Raises:
            StorageError: storage did not answer, or answered with an error.
            InvalidJob: the job's record cannot be read.
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
            # At once: a job that is claimed and not yet held could not be given back.
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
        """Gives all jobs back and claims no more; returns how many jobs it gave back."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._claiming == 0, PATIENCE)
            left = list(self._held.values())
            self._held.clear()
        for held in left:
            held.give_back()
        return len(left)
