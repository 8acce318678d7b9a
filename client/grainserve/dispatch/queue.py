"""The jobs that a dispatcher has yet to look at: submitters take turns, and no job comes before it can be claimed."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from grainserve.jobs.markers import Ticket

LONGEST_WAIT = 3600.0
"""Longest wait of a thread, s: a wait of centuries is more than threads can count."""


class TicketQueue:
    """A queue that holds each image once, however often it is put in.

    Args:
        clock: clock, s, from any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._ready: OrderedDict[str, deque[Ticket]] = OrderedDict()  # by submitter, the next one first
        self._later: list[tuple[float, int, Ticket]] = []
        self._known: set[str] = set()  # ready, later or in hand
        self._number = 0
        self._closed = False

    def put(self, ticket: Ticket) -> bool:
        """Adds a job, unless it is already queued or in hand; returns whether it was added."""
        with self._changed:
            if ticket.image_id in self._known:
                return False
            self._known.add(ticket.image_id)
            self._make_ready(ticket)
            self._changed.notify_all()
            return True

    def take(self) -> Ticket | None:
        """Waits for the next job; returns None once the queue is closed. Call `done` with the job afterwards."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                while self._later and self._later[0][0] <= now:
                    self._make_ready(heapq.heappop(self._later)[2])
                if self._ready:
                    return self._next()
                self._changed.wait(min(LONGEST_WAIT, self._later[0][0] - now) if self._later else None)
            return None

    def done(self, ticket: Ticket, again: float | None) -> None:
        """Puts a taken job back for another look in `again` seconds; forgets it if `again` is None."""
        with self._changed:
            if again is None:
                self._known.discard(ticket.image_id)
            else:
                self._number += 1  # tickets do not compare
                heapq.heappush(self._later, (self._clock() + again, self._number, ticket))
            self._changed.notify_all()

    def wait_for_room(self, enough: int, timeout: float) -> bool:
        """Waits until fewer than `enough` jobs are ready, or the queue is closed.

        Args:
            enough: number of jobs that leaves no room.
            timeout: longest wait, s.

        Returns:
            Whether that was so in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._count() < enough, timeout)

    def close(self) -> None:
        """Closes the queue and wakes all who wait in `take`, which then returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _make_ready(self, ticket: Ticket) -> None:
        self._ready.setdefault(ticket.submitter, deque()).append(ticket)

    def _next(self) -> Ticket:
        submitter, tickets = self._ready.popitem(last=False)
        ticket = tickets.popleft()
        if tickets:
            self._ready[submitter] = tickets  # to the end: the other submitters come first
        self._changed.notify_all()
        return ticket

    def _count(self) -> int:
        return sum(map(len, self._ready.values()))
