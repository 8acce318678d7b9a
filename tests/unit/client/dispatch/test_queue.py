"""The order in which jobs are taken."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from grainserve.dispatch.queue import TicketQueue
from grainserve.jobs.markers import Ticket


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


def test_each_image_is_held_once_and_comes_back_when_it_is_due() -> None:
    clock = Clock()
    queue = TicketQueue(clock)
    a, b = Ticket("lab", "a"), Ticket("lab", "b")
    assert [queue.put(ticket) for ticket in (a, b, a)] == [True, True, False]
    assert [queue.take(), queue.take()] == [a, b]
    assert not queue.put(a), "in hand"
    queue.done(b, 9)
    queue.done(a, 5)
    assert not queue.put(b), "queued for later"
    clock.time += 10
    assert [queue.take(), queue.take()] == [a, b]
    queue.done(a, None)
    assert queue.put(a)
    assert queue.take() == a
    queue.close()
    assert queue.take() is None


@given(st.lists(st.sampled_from("xyz"), max_size=30))
def test_submitters_take_turns(order: list[str]) -> None:
    """In any order of arrival, no submitter is served twice while another one waits."""
    queue = TicketQueue()
    for number, submitter in enumerate(order):
        queue.put(Ticket(submitter, str(number)))
    left = list(order)
    served: list[str] = []
    for _ in order:
        ticket = queue.take()
        assert ticket is not None
        left.remove(ticket.submitter)
        if ticket.submitter in served:
            since = served[len(served) - served[::-1].index(ticket.submitter) :]
            assert set(left) <= {*since, ticket.submitter}
        served.append(ticket.submitter)


def test_each_submitters_jobs_keep_their_order() -> None:
    queue = TicketQueue()
    tickets = [Ticket("lab", str(number)) for number in range(5)]
    for ticket in tickets:
        queue.put(ticket)
    assert [queue.take() for _ in tickets] == tickets


def test_room_is_told_when_it_comes() -> None:
    queue = TicketQueue()
    queue.put(Ticket("lab", "a"))
    assert not queue.wait_for_room(1, timeout=0.01)
    threading.Timer(0.02, queue.take).start()
    assert queue.wait_for_room(1, timeout=10)


def test_a_waiter_is_woken_by_a_job_and_by_the_end() -> None:
    queue = TicketQueue()
    threading.Timer(0.02, queue.put, (Ticket("lab", "a"),)).start()
    assert queue.take() == Ticket("lab", "a")
    threading.Timer(0.02, queue.close).start()
    assert queue.take() is None


def test_a_job_for_centuries_from_now_holds_up_no_other() -> None:
    queue, far, near = TicketQueue(), Ticket("lab", "a"), Ticket("lab", "b")
    queue.put(far)
    queue.take()
    queue.done(far, 1e12)
    threading.Timer(0.02, queue.put, (near,)).start()
    assert queue.take() == near
