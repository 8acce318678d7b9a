"""Records changed by compare-and-swap: what is a renewal of one's own, and what another's change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.jobs.job import LONGEST_LEASE
from grainserve.jobs.store import Claim, JobStore, Later
from grainserve.storage.bucket import Bucket, Stored
from tests.unit.client.jobs.test_store import DIED, Clock, claim, claimed, submit


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket: Bucket, clock: Clock) -> JobStore:
    return JobStore(bucket, now=clock)


@pytest.mark.parametrize("change", ["renew", "release", "attempt_failed", "reject", "postpone"])
def test_a_renewal_whose_answer_was_lost_does_not_cost_the_lease(store: JobStore, clock: Clock, change: str) -> None:
    image_id = submit(store)
    taken = claimed(store, image_id)
    clock.forward(1)
    store.renew(taken)  # and `taken` is all that the dispatcher knows
    clock.forward(1)
    what = getattr(store, change)(taken, *([DIED] if change in ("attempt_failed", "reject", "postpone") else []))
    if change == "renew":
        assert store.renew(what).job == store.job(image_id)
    else:
        assert what == store.job(image_id)
        assert what.lease is None


def test_a_claim_does_not_take_what_its_owner_renews_meanwhile(store: JobStore, clock: Clock) -> None:
    image_id = submit(store)
    first = claimed(store, image_id)
    clock.forward(store.lease.total_seconds())
    read = store.bucket.read

    def renew_after_reading(name: str) -> Stored | None:
        stored = read(name)
        store.bucket.read = read  # type: ignore[method-assign]
        store.renew(first)
        return stored

    store.bucket.read = renew_after_reading  # type: ignore[method-assign]
    assert isinstance(claim(store, image_id, "two"), Later)


def test_a_lease_of_a_clock_gone_wrong_holds_for_the_longest_lease_since_it_was_written(
    store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit(store)
    clock.forward(1_000_000)
    claimed(store, image_id)
    clock.forward(-1_000_000)
    longest, written = LONGEST_LEASE.total_seconds(), datetime.now(UTC)
    held = claim(store, image_id, "two")
    assert isinstance(held, Later)
    assert longest - 60 < held.seconds <= longest
    assert store.job(image_id).lease.expires <= clock() + LONGEST_LEASE  # type: ignore[union-attr]
    monkeypatch.setattr(store.bucket.clock, "now", lambda: written + LONGEST_LEASE + timedelta(seconds=2))
    taken = claim(store, image_id, "two")  # whatever the record says
    assert isinstance(taken, Claim)
    assert taken.job.attempts == 2


def test_a_lease_that_others_would_not_honour_is_refused(bucket_name: str) -> None:
    with pytest.raises(InvalidConfiguration, match="1:00:00 at most"):
        JobStore(Bucket(bucket_name), lease=LONGEST_LEASE + timedelta(seconds=1))
