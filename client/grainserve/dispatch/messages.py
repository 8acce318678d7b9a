"""Carries messages of Pub/Sub to a dispatcher's queue, and acknowledges them when their jobs have ended."""

from __future__ import annotations

import logging
import threading

from grainserve.dispatch.queue import TicketQueue
from grainserve.errors import InvalidJob, StorageError
from grainserve.jobs.job import Failure
from grainserve.jobs.markers import Ticket
from grainserve.jobs.pubsub import News, NotificationError, Notifications
from grainserve.jobs.store import JobStore

log = logging.getLogger(__name__)

MOST = 16
"""Messages pulled at once."""
WAIT = 5.0
"""Seconds for which a pull waits for a message."""
HOLD, HOLD_EVERY = 60.0, 20.0
"""Seconds for which a message is kept from other dispatchers, and seconds between two extensions: two of them may go
wrong."""
UNDELIVERABLE = Failure("undeliverable", "Pub/Sub brought this job to dispatchers many times, and none ended it")


class Messages:
    """The messages that a dispatcher holds: pulled from Pub/Sub, kept while their jobs last, then acknowledged.

    Args:
        notifications: topic that the messages come from.
        store: store in which the jobs of dead letters are failed.
        queue: queue that the tickets go to.
    """

    def __init__(self, notifications: Notifications, store: JobStore, queue: TicketQueue) -> None:
        self._notifications = notifications
        self._store = store
        self._queue = queue
        self._lock = threading.Lock()
        # Deadlines are set by one thread at a time: an extension on its way would take back what `let_go` gave back.
        self._deadlines = threading.Lock()
        self._held: dict[str, list[News]] = {}
        self._closed = False

    def fetch(self) -> bool:
        """Pulls messages into the queue, and fails the jobs of dead letters that nobody works on.

        Messages that come after `let_go` go back at once.

        Returns:
            Whether Pub/Sub answered.
        """
        try:
            found = self._notifications.pull(MOST, WAIT)
        except NotificationError as error:
            log.warning("%s", error)
            return False
        held = [news for news in found if not news.dead]
        with self._deadlines:
            with self._lock:
                closed = self._closed
                if not closed:
                    for news in held:
                        self._held.setdefault(news.ticket.image_id, []).append(news)
            self._try(found, 0 if closed else HOLD)  # in place of the subscription's own deadline
        if closed:
            return True
        for news in held:
            self._queue.put(news.ticket)
        for news in found:
            if news.dead:
                self._bury(news)
        return True

    def hold(self) -> None:
        """Extends the deadlines of all messages held; must be called every `HOLD_EVERY` seconds."""
        with self._deadlines:
            with self._lock:
                held = [news for several in self._held.values() for news in several]
            self._try(held, HOLD)

    def looked(self, ticket: Ticket, *, ended: bool) -> None:
        """Lets go of a job's messages after a look at the job.

        Args:
            ticket: ticket of the job.
            ended: whether the job has ended; its messages are then acknowledged, else Pub/Sub may bring them to others.
        """
        with self._lock:
            news = self._held.pop(ticket.image_id, [])
        if ended and news:
            try:
                self._notifications.acknowledge(news)
            except NotificationError as error:
                log.warning("%s", error)

    def let_go(self) -> None:
        """Gives back all messages at once, and holds none from then on."""
        with self._deadlines:
            with self._lock:
                self._closed = True
                held = [news for several in self._held.values() for news in several]
                self._held.clear()
            self._try(held, 0)

    def _try(self, news: list[News], seconds: float) -> None:
        try:
            if news:
                self._notifications.extend(news, seconds)
        except NotificationError as error:
            log.warning("%s", error)

    def _bury(self, news: News) -> None:
        try:
            self._store.give_up(news.ticket, UNDELIVERABLE)
            self._notifications.acknowledge([news])
        except (StorageError, InvalidJob, NotificationError) as error:
            log.warning("dead letter of image %s left for later: %s", news.ticket.image_id, error)
