"""The dispatcher: claims jobs, has TorchServe do them, stores their results.

Runs in background threads of any process: a client, a gateway, or one of its own. Several may work on one bucket; the
lease in the job record keeps them apart (`protocol.py`).
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import uuid
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from grainserve.errors import (
    GrainserveError,
    ImageNotFound,
    ImageRejected,
    InvalidJob,
    StorageError,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
)
from grainserve.inbox import Inbox
from grainserve.jobs import Failure
from grainserve.protocol import Claim, JobStore, Later, LeaseLost
from grainserve.torchserve import TorchServe

log = logging.getLogger(__name__)


class Dispatcher:
    """Works through the pending jobs of one bucket.

    A failure of the image's own attempt (worker died, handler failed, answer lost) uses up one of its attempts.
    Backpressure and an unreachable TorchServe do not: the dispatcher keeps the lease, backs off and asks again.

    Args:
        store: jobs.
        torchserve: where the work is done.
        concurrency: jobs at once.
        listing_interval: seconds between looks at `pending/` for jobs nobody handed in here, such as those a
            stopped client left behind.
        backoff: shortest and longest pause after backpressure, s.

    Attributes:
        problem: why nothing moves at the moment, or None.
    """

    def __init__(
        self,
        store: JobStore,
        torchserve: TorchServe,
        *,
        concurrency: int = 2,
        listing_interval: float = 10.0,
        backoff: tuple[float, float] = (0.25, 10.0),
    ) -> None:
        self.problem: GrainserveError | None = None
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._store = store
        self._torchserve = torchserve
        self._listing_interval = listing_interval
        self._backoff = backoff
        self._inbox = Inbox(store.now)
        self._stopping = threading.Event()
        # Daemons: a process that ends takes them with it, and their leases run out.
        self._threads = [
            threading.Thread(target=self._work, name=f"grainserve-dispatcher-{number}", daemon=True)
            for number in range(concurrency)
        ] + [threading.Thread(target=self._list, name="grainserve-listing", daemon=True)]

    def start(self) -> Self:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, timeout: float | None = None) -> bool:
        """Claims nothing more, ends the jobs in hand, returns.

        Args:
            timeout: seconds to wait for the jobs in hand; None waits for as long as they take.

        Returns:
            Whether all threads ended in time. A job that did not is taken over when its lease has run out.
        """
        self._stopping.set()
        self._inbox.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def hand_in(self, image_id: str) -> None:
        """Puts a freshly submitted job in front of the next look at `pending/`."""
        self._inbox.put(image_id)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Threads --------------------------------------------------------------------------------------------------------

    def _list(self) -> None:
        while True:
            try:
                for image_id in self._store.pending():
                    self._inbox.put(image_id)
            except StorageError as error:
                self._trouble(error)
            if self._stopping.wait(self._listing_interval):
                return

    def _work(self) -> None:
        while (image_id := self._inbox.take()) is not None:
            again = None
            try:
                claim = self._store.claim(image_id, self.owner)
                if isinstance(claim, Later):
                    again = claim.at
                elif claim is not None:
                    again = self._process(claim)
            except (ImageNotFound, InvalidJob) as error:
                log.warning("job of image %s dropped: %s", image_id, error)  # deleted or damaged by hand
            except StorageError as error:
                self._trouble(error)  # the marker is still there: the next listing brings it back
                self._stopping.wait(self._pause(0))
            finally:
                self._inbox.done(image_id, again)

    def _process(self, claim: Claim) -> datetime | None:
        """Does one claimed job. Returns when to look at it again, or None when it has ended."""
        image_id = claim.job.image_id
        try:
            image = self._store.image(image_id)
        except ImageNotFound:
            self._store.reject(claim, Failure("image_deleted", "the image was deleted before it was worked on"))
            return None
        with Heartbeat(self._store, claim) as heartbeat:
            outcome = self._predict(claim, image)
        claim = heartbeat.claim
        if isinstance(outcome, dict):
            self._store.finish(claim, outcome)
            return None
        if heartbeat.lost:
            return self._store.now()  # look again: another has it, or will
        if outcome is None:
            job = self._store.release(claim)
        elif isinstance(outcome, ImageRejected):
            job = self._store.reject(claim, Failure(outcome.code, str(outcome), outcome.status))
        else:
            log.warning("attempt %d on image %s failed: %s", claim.job.attempts, image_id, outcome)
            job = self._store.attempt_failed(claim, Failure(outcome.code, str(outcome)))
        return job.claimable_at()

    def _predict(self, claim: Claim, image: bytes) -> dict[str, Any] | TorchServeError | None:
        """Returns the result; or why the attempt failed; or None when told to stop before TorchServe took it."""
        job = claim.job
        refusals = 0
        while True:
            try:
                result = self._torchserve.predict(job.model, job.version, image, job.options, job.image_id)
            except (TorchServeBusy, TorchServeUnreachable) as error:
                self._trouble(error)
                if self._stopping.wait(self._pause(refusals)):
                    return None
                refusals += 1
            except TorchServeError as error:
                return error
            else:
                self.problem = None
                return result

    def _pause(self, refusals: int) -> float:
        """Seconds to back off: doubling up to the longest, with jitter so that dispatchers do not march in step."""
        shortest, longest = self._backoff
        return random.uniform(shortest, max(shortest, min(longest, shortest * 2.0 ** min(refusals + 1, 30))))

    def _trouble(self, error: GrainserveError) -> None:
        if type(self.problem) is not type(error):
            log.warning("%s", error)
        self.problem = error


class Heartbeat:
    """Renews a claim's lease in the background while the work goes on.

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
        self._ended.set()
        self._thread.join()

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
