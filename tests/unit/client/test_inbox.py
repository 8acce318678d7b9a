"""Which job comes next."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from grainserve.dispatch.queue import Inbox
from grainserve.jobs.markers import Ticket


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_each_image_is_held_once_and_comes_back_when_it_is_due() -> None:
    clock = Clock()
    inbox = Inbox(clock)
    a, b = Ticket("lab", "a"), Ticket("lab", "b")
    assert [inbox.put(ticket) for ticket in (a, b, a)] == [True, True, False]
    assert [inbox.take(), inbox.take()] == [a, b]
    assert not inbox.put(a), "in hand"
    inbox.done(b, 9)
    inbox.done(a, 5)
    assert not inbox.put(b), "queued for later"
    clock.time += 10
    assert [inbox.take(), inbox.take()] == [a, b]
    inbox.done(a, None)
    assert inbox.put(a)
    assert inbox.take() == a
    inbox.close()
    assert inbox.take() is None


@given(st.lists(st.sampled_from("xyz"), max_size=30))
def test_submitters_take_turns(order: list[str]) -> None:
    """Whatever the order of arrival, nobody is served a second time while another has waited since the first."""
    inbox = Inbox()
    for number, submitter in enumerate(order):
        inbox.put(Ticket(submitter, str(number)))
    left = list(order)
    served: list[str] = []
    for _ in order:
        ticket = inbox.take()
        assert ticket is not None
        left.remove(ticket.submitter)
        if ticket.submitter in served:
            since = served[len(served) - served[::-1].index(ticket.submitter) :]
            assert set(left) <= {*since, ticket.submitter}
        served.append(ticket.submitter)


def test_each_submitters_jobs_keep_their_order() -> None:
    inbox = Inbox()
    tickets = [Ticket("lab", str(number)) for number in range(5)]
    for ticket in tickets:
        inbox.put(ticket)
    assert [inbox.take() for _ in tickets] == tickets


def test_room_is_told_when_it_comes() -> None:
    inbox = Inbox()
    inbox.put(Ticket("lab", "a"))
    assert not inbox.wait_for_room(1, timeout=0.01)
    threading.Timer(0.02, inbox.take).start()
    assert inbox.wait_for_room(1, timeout=10)


def test_a_waiter_is_woken_by_a_job_and_by_the_end() -> None:
    inbox = Inbox()
    threading.Timer(0.02, inbox.put, (Ticket("lab", "a"),)).start()
    assert inbox.take() == Ticket("lab", "a")
    threading.Timer(0.02, inbox.close).start()
    assert inbox.take() is None


def test_a_job_for_centuries_from_now_holds_up_no_other() -> None:
    inbox, far, near = Inbox(), Ticket("lab", "a"), Ticket("lab", "b")
    inbox.put(far)
    inbox.take()
    inbox.done(far, 1e12)
    threading.Timer(0.02, inbox.put, (near,)).start()
    assert inbox.take() == near
