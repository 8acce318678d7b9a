"""The dispatcher: claims jobs, has TorchServe do them, stores their results.

It runs in background threads of any process: a client, a gateway, or a process of its own. Any number of dispatchers
may work on one bucket; the leases in the job records keep them apart (`jobs/store.py`).
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from grainserve.dispatch.capacity import Capacity
from grainserve.dispatch.leases import LEASES, Held, HeldJobs
from grainserve.dispatch.messages import HOLD_EVERY, WAIT, Messages
from grainserve.dispatch.queue import TicketQueue
from grainserve.dispatch.supervisor import Supervisor
from grainserve.errors import (
    GrainserveError,
    ImageNotFound,
    ImageRejected,
    InvalidJob,
    ModelNotFound,
    StorageError,
    TilesDisagree,
    TorchServeBusy,
    TorchServeError,
    TorchServeUnreachable,
)
from grainserve.jobs import parts
from grainserve.jobs.job import Failure, Job, State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import CANCELLED, Claim, JobStore
from grainserve.jobs.sweep import Sweep
from grainserve.torchserve.inference import TorchServe

log = logging.getLogger(__name__)

GLANCE = 16
"""Jobs that a look at `pending/` should bring, at least. Not many more: while they wait here others take some of them,
and each job that another dispatcher has done meanwhile costs a call."""
LAST_PULL = WAIT + 2.0
"""Seconds in which a pull of messages has come to its end."""
HANDED_IN = 64
"""Jobs that may wait here before no more are taken from submitters."""

DONE, FAILED, RETRIED = "done", "failed", "attempts failed"

JOBS, LISTING, NEWS, DEADLINES = "work on jobs", "looking for jobs", "fetching news", "holding news"
KINDS = (JOBS, LISTING, NEWS, DEADLINES, LEASES)
"""Kinds of work in the threads of a dispatcher; no fault ends any of them."""

SWEEP_EVERY = 60.0
"""Seconds between two steps of the sweep through the bucket's records and results."""
SWEPT = 32
"""Largest number of records read in a step of the sweep: each costs a call or two."""

LEFT_ALONE = 600.0
"""Seconds until a record that cannot be read is looked at again."""


class Dispatcher:
    """A dispatcher, which works through the pending jobs of one bucket.

    A failed attempt (worker died, handler failed, answer lost) uses up one of the job's attempts. Backpressure and an
    unreachable TorchServe use up none: the dispatcher keeps the lease, backs off and asks again. A model that
    TorchServe lacks uses up none, either: its jobs are put back, so that the jobs of other models go on.

    Args:
        store: store of the jobs.
        torchserve: TorchServe that does the work.
        concurrency: jobs at once, at most; see `Capacity`.
        listing_interval: seconds between looks at `pending/` while there is nothing to do. With Pub/Sub, looks only
            find the jobs that it lost, so they may be minutes apart.
        backoff: shortest and longest pause after backpressure, s.

    Attributes:
        problem: error that holds the dispatcher up at the moment, or None.
        looks: number of looks at `pending/` so far.
        on_taken: called for each request that TorchServe accepted, with the job and the seconds from its submission to
            the request; not called for requests that a full queue refused.
        on_answered: called for each result that came, with the result and the seconds since its request.
        on_done: called for each result that was stored, with the job and the seconds since its submission.
        supervisor: supervisor of the threads, which knows those that have failed and those that are down.
    """

    def __init__(
        self,
        store: JobStore,
        torchserve: TorchServe,
        *,
        concurrency: int = 2,
        listing_interval: float = 5.0,
        backoff: tuple[float, float] = (0.25, 10.0),
    ) -> None:
        self.problem: GrainserveError | None = None
        self.looks = 0
        self.on_taken: Callable[[Job, float], None] = _tell_nobody
        self.on_answered: Callable[[dict[str, Any], float], None] = _tell_nobody
        self.on_done: Callable[[Job, float], None] = _tell_nobody
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._store = store
        self._torchserve = torchserve
        self._concurrency = concurrency
        self._listing_interval = listing_interval
        self._backoff = backoff
        self._chance = random.Random()  # its own: a caller's `random.seed` must not set dispatchers in step
        self._queue = TicketQueue()
        self._capacity = Capacity(torchserve, concurrency)
        self._sweep = Sweep(store, start=f"{self._chance.randrange(16**4):04x}")
        self._swept = time.monotonic()
        self._stopping = threading.Event()
        self.supervisor = Supervisor(KINDS)
        self._hand = HeldJobs(store, self.owner, self.supervisor)
        self._counting = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._workers: list[threading.Thread] = []
        self._news: threading.Thread | None = None
        self._messages = Messages(store.notifications, store, self._queue) if store.notifications else None

    def start(self) -> Self:
        """Starts the threads; returns the dispatcher."""
        start = self.supervisor.start
        self._workers = [start(JOBS, self._work, self._stopping) for _ in range(self._concurrency)]
        start(LISTING, self._list, self._stopping)
        if self._messages:
            self._news = start(NEWS, self._fetch, self._stopping)
            start(DEADLINES, self._hold, self._stopping)
        return self

    def stop(self, timeout: float | None = None) -> bool:
        """Claims no more jobs, waits for the jobs in hand, and gives up those that take too long.

        Args:
            timeout: seconds to wait for the jobs in hand; None waits for as long as they take. With Pub/Sub, a pull
                that is under way may take a few seconds more.

        Returns:
            Whether all jobs ended in time. The others are put back into the queue without counting their attempts. If
                storage cannot put them back, their leases run out.
        """
        self._stopping.set()
        self._queue.close()
        begun = time.monotonic()
        for thread in self._workers:
            thread.join(None if timeout is None else max(0.0, begun + timeout - time.monotonic()))
        given_back = self._hand.give_back()
        if self._messages:
            self._messages.let_go()
        if self._news:  # its last messages go back; they would not if the process ended first
            self._news.join(max(0.0, begun + LAST_PULL - time.monotonic()))
        return not given_back

    def hand_in(self, ticket: Ticket) -> None:
        """Queues a job that is known to be unfinished, without waiting for the next look at `pending/`.

        If many jobs wait here already, it is not queued: jobs handed in here would come before the jobs of others.
        """
        if self._queue.wait_for_room(HANDED_IN, timeout=0):
            self._queue.put(ticket)

    @property
    def in_hand(self) -> int:
        """Number of jobs being worked on."""
        return len(self._hand)

    @property
    def ended(self) -> Counter[str]:
        """Number of jobs that ended here, by their last state, and of attempts that failed."""
        with self._counting:
            return self._ended.copy()

    def summary(self) -> str:
        """Returns what was done so far, in one line."""
        ended, faults = self.ended, sum(self.supervisor.failures.values())
        counts = ", ".join(f"{ended[what]} {what}" for what in (DONE, FAILED, RETRIED))
        trouble = f"; {faults} faults of the dispatcher's own" if faults else ""
        trouble += f"; {self.problem}" if self.problem else ""
        return f"{counts}, {self.in_hand} in hand{trouble}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Threads --------------------------------------------------------------------------------------------------------

    def _list(self) -> None:
        """Looks for jobs that nobody handed in here, such as those of other machines or of a dead dispatcher."""
        while not self._stopping.is_set():
            self._sweep_now_and_then()
            if not self._has_room():
                continue
            found, wanted = 0, max(GLANCE, 2 * self._concurrency)
            try:
                for ticket in self._store.pending.some(wanted):
                    found += self._queue.put(ticket)
                    if found >= wanted:
                        break
            except StorageError as error:
                self._trouble(error)
            self.looks += 1
            if not found:
                self._stopping.wait(self._listing_interval * self._chance.uniform(0.8, 1.2))

    def _sweep_now_and_then(self) -> None:
        if time.monotonic() - self._swept < SWEEP_EVERY:
            return
        try:
            self._sweep.step(SWEPT)
        except StorageError as error:
            self._trouble(error)
        self._swept = time.monotonic()

    def _fetch(self) -> None:
        assert self._messages
        while not self._stopping.is_set():
            if not self._has_room():
                continue
            if not self._messages.fetch():
                self._stopping.wait(self._pause(5))

    def _has_room(self) -> bool:
        """Waits a while for room in the queue; returns False also when the dispatcher is stopping."""
        return self._queue.wait_for_room(self._concurrency, self._listing_interval) and not self._stopping.is_set()

    def _hold(self) -> None:
        assert self._messages
        while not self._stopping.is_set():
            self._messages.hold()
            self._stopping.wait(HOLD_EVERY)

    def _work(self) -> None:
        while self._has_place():
            try:
                ticket = self._queue.take()
                if ticket is None:
                    return
                again: float | None = LEFT_ALONE
                try:
                    again = self._look_at(ticket)
                finally:
                    # First, so that a message that comes in between can queue the job again.
                    self._queue.done(ticket, again)
                if self._messages:
                    self._messages.looked(ticket, ended=again is None)
            finally:
                self._capacity.give_back()

    def _has_place(self) -> bool:
        """Waits for a place at TorchServe; returns False when the dispatcher is stopping."""
        refusals = 0
        while not self._stopping.is_set():
            try:
                if self._capacity.take():
                    return True
                self._capacity.wait(self._pause(0))
            except TorchServeError as error:
                self._trouble(error)
                self._stopping.wait(self._pause(refusals))
                refusals += 1
        return False

    def _look_at(self, ticket: Ticket) -> float | None:
        """Does a job if it can be claimed; returns the seconds until another look, or None if the job has ended."""
        try:
            with self._hand.claim(ticket) as held:
                if isinstance(held, Held):
                    return self._process(held)
                return held.seconds if held else None
        except ImageNotFound:
            pass  # deleted meanwhile
        except InvalidJob as error:
            log.warning("job of image %s left alone: %s", ticket.image_id, error)  # damaged by hand
            return LEFT_ALONE
        except StorageError as error:
            self._trouble(error)
            self._stopping.wait(self._pause(2))
            return self._pause(2)
        except Exception:  # a fault of ours holds up no other job; the attempt counts when its lease has run out
            log.exception("image %s: the dispatcher itself failed", ticket.image_id)
            self.supervisor.count(JOBS)
            return self._store.lease.total_seconds()
        return None

    def _process(self, held: Held) -> float | None:
        """Does a claimed job; returns the seconds until another look, or None if the job needs none."""
        job = held.claim.job
        if job.parent and self._is_orphan(held, job.parent):
            return None
        return self._take_on(held) if job.is_large else self._measure(held)

    def _measure(self, held: Held) -> float | None:
        """Has TorchServe measure an image; returns as `_process`."""
        job = held.claim.job
        image_id = job.image_id
        try:
            image = self._store.image(image_id)
        except ImageNotFound:
            self._store.reject(held.end(), Failure("image_deleted", "the image was deleted before it was worked on"))
            return None
        except StorageError:
            self._store.release(held.end())  # no fault of the image: the attempt does not count
            raise
        outcome = self._predict(held, image)
        if held.given_back:
            return None
        if isinstance(outcome, dict):
            self._done(held, outcome)
            return None
        claim = held.end()
        if held.lost:
            return self._pause(0)  # looks again then: another dispatcher has it, or will
        return self._again(self._settle(claim, outcome))

    def _take_on(self, held: Held) -> float | None:
        """Takes the job of a large image on by one step; returns as `_process`."""
        # Imported where it is used: most dispatchers see no large image, and start faster without it.
        from grainserve.dispatch.large import LargeImages, NotWanted, Wait  # noqa: PLC0415

        job = held.claim.job
        large = LargeImages(self._store, lambda: not (held.lost or self._stopping.is_set()), self.hand_in)
        outcome: Wait | Failure | dict[str, Any] | TilesDisagree | None
        try:
            outcome = large.step(job)
        except NotWanted:
            outcome = None
        except TilesDisagree as error:
            outcome = error
        except ImageNotFound:
            outcome = Failure("image_deleted", "the image was deleted before its tiles were submitted")
        except StorageError:
            self._store.release(held.end())  # no fault of the image: the attempt does not count
            raise
        if held.given_back:
            return None
        if isinstance(outcome, dict):
            self._done(held, outcome)
            return None
        claim = held.end()
        if held.lost:
            return self._pause(0)
        if isinstance(outcome, Wait):
            return self._again(self._store.put_back(claim, outcome.tiles, outcome.seconds))
        if isinstance(outcome, Failure):
            log.info("%s failed: %s", job.about, outcome.message)
            self._store.reject(claim, outcome)
            self._count(FAILED)
            parts.cancel_all(self._store, job.image_id)
            return None
        return self._again(self._settle(claim, outcome))

    def _done(self, held: Held, result: dict[str, Any]) -> None:
        job = held.claim.job
        self._finish(held, result)
        self._count(DONE)
        self.on_done(job, self._age(job))
        log.info("%s done", job.about)

    def _is_orphan(self, held: Held, parent: str) -> bool:
        """Ends a tile whose image is gone or has ended; returns whether it did."""
        try:
            if not self._store.job(parent).ended:
                return False
        except ImageNotFound:
            self._store.delete(held.end().job.image_id)
            return True
        except (StorageError, InvalidJob):
            self._store.release(held.end())  # no fault of the tile: the attempt does not count
            raise
        self._store.reject(held.end(), CANCELLED)
        return True

    def _again(self, job: Job) -> float | None:
        """Returns the seconds until another look at a job; None if it has ended."""
        return None if job.ended else job.claimable_in(self._store.now())

    def _count(self, what: str) -> None:
        with self._counting:
            self._ended[what] += 1

    def _age(self, job: Job) -> float:
        """Returns the seconds since a job was submitted."""
        return max(0.0, (self._store.now() - job.created).total_seconds())

    def _finish(self, held: Held, result: dict[str, Any]) -> None:
        """Stores a result, however long storage takes to answer: the lease is renewed meanwhile.

        Raises:
            StorageError: storage did not take the result before the dispatcher stopped.
        """
        refusals = 0
        while True:
            try:
                return self._store.finish(held.claim, result)
            except StorageError as error:
                self._trouble(error)
                if self._stopping.wait(self._pause(refusals)):
                    raise
                refusals += 1

    def _settle(self, claim: Claim, outcome: TorchServeError | TilesDisagree | None) -> Job:
        """Records why a job has no result; returns the job's current record."""
        if outcome is None:
            return self._store.release(claim)
        if isinstance(outcome, ImageRejected):
            log.info("%s refused: %s", claim.job.about, outcome)
            job = self._store.reject(claim, Failure(outcome.code, str(outcome), outcome.status))
        elif isinstance(outcome, ModelNotFound):
            self._trouble(outcome)
            job = self._store.postpone(claim, Failure(outcome.code, str(outcome)))
            if not job.ended:
                return job
        else:
            log.warning("attempt %d on %s failed: %s", claim.job.attempts, claim.job.about, outcome)
            job = self._store.attempt_failed(claim, Failure(outcome.code, str(outcome)))
        self._count(DONE if job.state is State.DONE else FAILED if job.ended else RETRIED)
        return job

    def _predict(self, held: Held, image: bytes) -> dict[str, Any] | TorchServeError | None:
        """Has TorchServe measure an image.

        Returns:
            The result; or the error that failed the attempt; or None if TorchServe did not take the image before the
                dispatcher stopped or lost the job.
        """
        job = held.claim.job
        refusals = 0
        while not held.lost:
            age, sent = self._age(job), time.monotonic()
            try:
                result = self._torchserve.predict(
                    job.model, job.version, image, job.options, job.image_id, traceparent=job.traceparent
                )
            except (TorchServeBusy, TorchServeUnreachable) as error:
                self._trouble(error)
                if self._stopping.wait(self._pause(refusals)):
                    return None
                refusals += 1
            except TorchServeError as error:
                if not isinstance(error, ModelNotFound):  # a job without its model waits on
                    self.on_taken(job, age)
                return error
            else:
                self.problem = None
                self.on_taken(job, age)
                self.on_answered(result, time.monotonic() - sent)
                return result
        return None

    def _pause(self, refusals: int) -> float:
        """Returns the seconds to back off.

        They double up to the longest pause, with jitter so that dispatchers do not march in step.
        """
        shortest, longest = self._backoff
        return self._chance.uniform(shortest, max(shortest, min(longest, shortest * 2.0 ** min(refusals + 1, 30))))

    def _trouble(self, error: GrainserveError) -> None:
        if type(self.problem) is not type(error):
            log.warning("%s", error)
        self.problem = error


def _tell_nobody(_what: object, _seconds: float) -> None:
    """Ignores its arguments: nobody asked for a dispatcher's times."""
