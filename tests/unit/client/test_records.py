"""Records changed by compare-and-swap: what is a renewal of one's own, and what another's change."""

from __future__ import annotations

import pytest

from grainserve.protocol import JobStore, Later
from grainserve.storage import Bucket, Stored
from tests.unit.client.test_protocol import DIED, Clock, claim, claimed, submit


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(bucket_name: str, clock: Clock) -> JobStore:
    return JobStore(Bucket(bucket_name), now=clock)


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
