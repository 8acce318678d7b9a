"""Held jobs over a scripted store; no test waits for time to pass."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grainserve.dispatch import leases
from grainserve.dispatch.leases import LEASES, Held, HeldJobs
from grainserve.dispatch.supervisor import Supervisor
from grainserve.errors import ImageNotFound, InvalidJob, StorageUnreachable
from grainserve.jobs.job import Job, Lease
from grainserve.jobs.markers import Ticket
from grainserve.jobs.records import LeaseLost
from grainserve.jobs.store import Claim, Later

START = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
UNREACHABLE = StorageUnreachable("GCS is away")


def a_claim(image_id: str = "a") -> Claim:
    job = Job(image_id, "lab", "sam_tiny", None, {}, created=START)
    return Claim(job.claimed(Lease("one", START + timedelta(minutes=1))), 1, Ticket("lab", image_id))


class Store:
    """A stand-in for `JobStore`: each renewal makes a new generation, or raises the next of `faults`."""

    def __init__(self, lease: float = 0.0) -> None:
        self.lease = timedelta(seconds=lease)
        self.faults: list[Exception | None] = []
        self.renewals = 0
        self.released: list[Claim] = []
        self.owners: list[str] = []
        self.answer: Callable[[Ticket], Claim | Later | None] = lambda ticket: a_claim(ticket.image_id)
        self.changed = threading.Condition()

    def renew(self, claim: Claim) -> Claim:
        with self.changed:
            self.renewals += 1
            self.changed.notify_all()
            if self.faults and (fault := self.faults.pop(0)):
                raise fault
        return replace(claim, generation=claim.generation + 1)

    def release(self, claim: Claim) -> Job:
        if self.faults and (fault := self.faults.pop(0)):
            raise fault
        self.released.append(claim)
        return claim.job

    def claim(self, ticket: Ticket, owner: str) -> Claim | Later | None:
        self.owners.append(owner)
        return self.answer(ticket)

    def until_renewed(self, times: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.renewals >= times)


def held(store: Store) -> Held:
    return Held(store, a_claim(), Supervisor((LEASES,)))  # type: ignore[arg-type]


def held_jobs(store: Store) -> HeldJobs:
    return HeldJobs(store, "one", Supervisor((LEASES,)))  # type: ignore[arg-type]


TICKET = Ticket("lab", "a")


# One ------------------------------------------------------------------------------------------------------------------


class Clockwork:
    """A simulated clock and event: each wait advances the clock by its length, and the last wait ends the loop."""

    def __init__(self, store: Store, waits: int, a_renewal_takes: float = 0.0) -> None:
        self.time, self.waits, self.left = 100.0, list[float](), waits
        renew = store.renew

        def slowly(claim: Claim) -> Claim:
            self.time += a_renewal_takes
            return renew(claim)

        store.renew = slowly  # type: ignore[method-assign]

    def monotonic(self) -> float:
        return self.time

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.time += seconds
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("takes", [0.0, 5.0, 50.0])
def test_a_lease_is_renewed_when_a_third_of_it_has_passed_since_the_last_time(
    monkeypatch: pytest.MonkeyPatch, takes: float
) -> None:
    store = Store(lease=60)
    clockwork = Clockwork(store, waits=4, a_renewal_takes=takes)
    monkeypatch.setattr(leases, "time", clockwork)
    supervisor = _Here()
    holding = Held(store, a_claim(), supervisor)  # type: ignore[arg-type]
    monkeypatch.setattr(holding._ended, "wait", clockwork.wait)
    assert supervisor.work is not None
    supervisor.work()
    assert clockwork.waits == [20.0] * 4
    assert store.renewals == 3


def test_a_thread_that_starts_late_renews_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(lease=60)
    clockwork = Clockwork(store, waits=2)
    monkeypatch.setattr(leases, "time", clockwork)
    supervisor = _Here()
    holding = Held(store, a_claim(), supervisor)  # type: ignore[arg-type]
    monkeypatch.setattr(holding._ended, "wait", clockwork.wait)
    clockwork.time += 33
    assert supervisor.work is not None
    supervisor.work()
    assert clockwork.waits == [0.0, 20.0]


class _Here:
    """A stand-in for a supervisor: it keeps the work for the test to run."""

    work: Callable[[], None] | None = None

    def start(self, kind: str, work: Callable[[], None], over: threading.Event) -> threading.Thread:
        assert kind == LEASES
        self.work = work
        return threading.Thread()


def test_a_held_job_has_its_latest_claim_and_renews_no_more_at_its_end() -> None:
    store = Store()
    holding = held(store)
    store.until_renewed(3)
    claim = holding.end()
    assert claim is holding.claim
    assert claim.generation == 1 + store.renewals
    assert not holding._thread.is_alive()
    assert (holding.lost, holding.given_back) == (False, False)


def test_storage_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.faults = [UNREACHABLE, UNREACHABLE]
    holding = held(store)
    store.until_renewed(4)
    assert holding.end().generation == 1 + store.renewals - 2
    assert not holding.lost
    assert caplog.text.count("lease of image a not renewed: GCS is away") == 2


@pytest.mark.parametrize("fault", [LeaseLost("another's"), InvalidJob("damaged")])
def test_a_lease_that_is_anothers_is_lost_and_renewed_no_more(fault: Exception) -> None:
    store = Store()
    store.faults = [None, fault]
    holding = held(store)
    holding._thread.join()
    assert (holding.lost, holding.given_back, store.renewals) == (True, False, 2)
    assert holding.end().generation == 2


def test_a_job_given_back_is_released_as_it_then_is() -> None:
    store = Store()
    holding = held(store)
    store.until_renewed(2)
    holding.give_back()
    assert store.released == [holding.claim]
    assert holding.claim.generation == 1 + store.renewals
    assert (holding.lost, holding.given_back) == (True, True)


@pytest.mark.parametrize("fault", [UNREACHABLE, ImageNotFound("a", "bucket"), InvalidJob("damaged")])
def test_a_job_that_cannot_be_given_back_is_told(caplog: pytest.LogCaptureFixture, fault: Exception) -> None:
    store = Store(lease=3600)
    holding = held(store)
    store.faults = [fault]
    holding.give_back()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "job of image a could not be given back" in caplog.text
    assert store.released == []


# All ------------------------------------------------------------------------------------------------------------------


def test_a_claimed_job_is_held_until_the_block_ends() -> None:
    store = Store(lease=3600)
    jobs = held_jobs(store)
    with jobs.claim(TICKET) as holding:
        assert isinstance(holding, Held)
        assert holding.claim == a_claim()
        assert len(jobs) == 1
    assert not holding._thread.is_alive()
    assert (len(jobs), store.owners, store.released) == (0, ["one"], [])


@pytest.mark.parametrize("answer", [Later(7.0), None])
def test_what_cannot_be_claimed_is_not_held(answer: Later | None) -> None:
    store = Store()
    store.answer = lambda _: answer
    jobs = held_jobs(store)
    with jobs.claim(TICKET) as holding:
        assert holding == answer
        assert len(jobs) == 0
    assert jobs.give_back() == 0


def test_an_error_of_a_claim_is_raised_and_nothing_is_held() -> None:
    store = Store()
    store.answer = _raise
    jobs = held_jobs(store)
    with pytest.raises(StorageUnreachable), jobs.claim(TICKET):
        pass
    assert (len(jobs), jobs.give_back()) == (0, 0)


def _raise(ticket: Ticket) -> Claim:
    raise UNREACHABLE


def test_all_that_is_held_is_given_back_and_nothing_is_claimed_any_more() -> None:
    store = Store(lease=3600)
    jobs = held_jobs(store)
    with jobs.claim(TICKET) as one, jobs.claim(Ticket("lab", "b")) as other:
        assert isinstance(one, Held)
        assert isinstance(other, Held)
        assert jobs.give_back() == 2
        assert (one.given_back, other.given_back, len(jobs)) == (True, True, 0)
        assert [claim.job.image_id for claim in store.released] == ["a", "b"]
        with jobs.claim(TICKET) as refused:
            assert refused == Later(0.0)
        assert store.owners == ["one", "one"], "storage was not asked"
    assert jobs.give_back() == 0


def test_a_claim_that_is_being_made_is_waited_for_and_given_back() -> None:
    store, begun, go_on = Store(lease=3600), threading.Event(), threading.Event()
    jobs = held_jobs(store)
    found: list[Any] = []

    def slowly(ticket: Ticket) -> Claim:
        begun.set()
        go_on.wait()
        return a_claim()

    def work() -> None:
        with jobs.claim(TICKET) as holding:
            found.append(holding)
            given_back.wait()

    store.answer = slowly
    given_back = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    waiting: list[float] = []
    real = jobs._changed.wait_for

    def wait_for(predicate: Callable[[], bool], timeout: float) -> bool:
        waiting.append(timeout)
        assert not predicate()
        go_on.set()
        return real(predicate, timeout)

    jobs._changed.wait_for = wait_for  # type: ignore[method-assign, assignment]
    assert jobs.give_back() == 1
    given_back.set()
    worker.join()
    assert found[0].given_back
    assert [claim.job.image_id for claim in store.released] == ["a"]
    assert waiting == [30.0], "longer than storage calls are retried"
