"""Tells dispatchers of jobs by Google Pub/Sub, where a deployment outgrows listing the bucket.

A message says only that a job is pending. GCS stays the truth, so a message that is lost or comes twice costs nothing.
While a dispatcher has a message it extends the message's ack deadline, and it acknowledges the message when the job has
ended. A message that nobody acknowledges goes to another dispatcher. A message that was delivered in vain too often
goes to the dead letters, and its job fails with that as the reason.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from grainserve.config import PUBSUB
from grainserve.contract import IMAGE_ID, SUBMITTER
from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.jobs.markers import Ticket

if TYPE_CHECKING:
    from google.cloud import pubsub_v1

log = logging.getLogger(__name__)

TOPIC = re.compile(r"projects/([a-z0-9:.-]+)/topics/([A-Za-z][A-Za-z0-9._~+%-]{2,220})")
DELIVERIES = 20
"""Times a message is delivered before it becomes a dead letter."""
CALL_SECONDS = 20.0
BATCH = 1000
"""Messages under way at once: as many as Pub/Sub takes in one call."""


class NotificationError(GrainserveError):
    """Pub/Sub did not answer, or answered with an error."""

    code = "notification_error"


@dataclass(frozen=True)
class News:
    """A message about a job.

    Attributes:
        ticket: ticket of the job.
        ack_id: id to acknowledge the message by.
        dead: whether the message came as a dead letter.
    """

    ticket: Ticket
    ack_id: str
    dead: bool = False


class Notifications:
    """One topic and one for its dead letters, each with a subscription that all dispatchers share.

    The topics are called `TOPIC` and `TOPIC-dead`, their subscriptions `TOPIC-dispatch` and `TOPIC-dead-dispatch`.

    Args:
        topic: full name of the topic, `projects/PROJECT/topics/TOPIC`.

    Raises:
        InvalidConfiguration: the name is no topic's, or google-cloud-pubsub is not installed.
    """

    def __init__(self, topic: str) -> None:
        match = TOPIC.fullmatch(topic)
        if not match:
            raise InvalidConfiguration(f"{topic!r} is no topic of Pub/Sub: projects/PROJECT/topics/TOPIC")
        try:
            from google.cloud import pubsub_v1  # noqa: PLC0415 - an extra of the client
        except ModuleNotFoundError:
            raise InvalidConfiguration(
                "google-cloud-pubsub is not installed: pip install 'grainserve[pubsub]'"
            ) from None
        self.topic = topic
        self.project = match[1]
        self._publisher: pubsub_v1.PublisherClient = pubsub_v1.PublisherClient()
        self._subscriber: pubsub_v1.SubscriberClient = pubsub_v1.SubscriberClient()
        self._jobs = f"projects/{match[1]}/subscriptions/{match[2]}-dispatch"
        self._dead_topic = f"{topic}-dead"
        self._dead = f"projects/{match[1]}/subscriptions/{match[2]}-dead-dispatch"

    def create(self, ack_seconds: int = 60) -> None:
        """Creates the topics and subscriptions that do not exist.

        Args:
            ack_seconds: seconds in which a message must be acknowledged or its deadline extended.

        Raises:
            NotificationError: Pub/Sub refused.
        """
        from google.api_core.exceptions import AlreadyExists  # noqa: PLC0415

        policy = {"dead_letter_topic": self._dead_topic, "max_delivery_attempts": DELIVERIES}
        jobs = {"name": self._jobs, "topic": self.topic, "ack_deadline_seconds": ack_seconds}
        dead = {"name": self._dead, "topic": self._dead_topic, "ack_deadline_seconds": ack_seconds}
        for make, what in (
            (self._publisher.create_topic, {"name": self.topic}),
            (self._publisher.create_topic, {"name": self._dead_topic}),
            (self._subscriber.create_subscription, jobs | {"dead_letter_policy": policy}),
            (self._subscriber.create_subscription, dead),
        ):
            with _translated(f"creating {what['name']}"):
                try:
                    make(request=what, timeout=CALL_SECONDS)
                except AlreadyExists:
                    continue

    def announce(self, ticket: Ticket) -> None:
        """Announces that a job is pending.

        Raises:
            NotificationError: the message could not be sent; the job's marker says the same.
        """
        self.announce_all([ticket])

    def announce_all(self, tickets: Iterable[Ticket]) -> int:
        """Announces that jobs are pending, many in one call; returns how many.

        Raises:
            NotificationError: some messages could not be sent.
        """
        count = 0
        for some in batched(tickets, BATCH):
            with _translated(f"announcing {len(some)} jobs to {self.topic}"):
                sent = [
                    self._publisher.publish(self.topic, b"", submitter=each.submitter, imageId=each.image_id)
                    for each in some
                ]
                for each in sent:
                    each.result(timeout=CALL_SECONDS)
            count += len(some)
        return count

    def pull(self, most: int, wait: float) -> list[News]:
        """Pulls messages, dead letters included; returns none after `wait` seconds without any.

        Args:
            most: largest number of messages from each subscription.
            wait: seconds to wait for a message.

        Raises:
            NotificationError: Pub/Sub did not answer.
        """
        return [*self._pull(self._dead, most, 0.5, dead=True), *self._pull(self._jobs, most, wait, dead=False)]

    def extend(self, news: Sequence[News], seconds: float) -> None:
        """Keeps messages from other dispatchers for so many seconds; 0 gives them back at once.

        Raises:
            NotificationError: Pub/Sub did not answer.
        """
        for subscription, ack_ids in self._by_subscription(news):
            request = {"subscription": subscription, "ack_ids": ack_ids, "ack_deadline_seconds": round(seconds)}
            with _translated("extending a deadline"):
                self._subscriber.modify_ack_deadline(request=request, timeout=CALL_SECONDS)

    def acknowledge(self, news: Sequence[News]) -> None:
        """Acknowledges messages, so that they are not delivered again.

        Raises:
            NotificationError: Pub/Sub did not answer; the messages will be delivered again.
        """
        for subscription, ack_ids in self._by_subscription(news):
            with _translated("acknowledging"):
                request = {"subscription": subscription, "ack_ids": ack_ids}
                self._subscriber.acknowledge(request=request, timeout=CALL_SECONDS)

    def _pull(self, subscription: str, most: int, wait: float, *, dead: bool) -> list[News]:
        from google.api_core.exceptions import DeadlineExceeded  # noqa: PLC0415

        with _translated("pulling"):
            try:
                request = {"subscription": subscription, "max_messages": most}
                received = self._subscriber.pull(request=request, timeout=wait).received_messages
            except DeadlineExceeded:
                return []
        news = []
        for each in received:
            said = each.message.attributes
            if SUBMITTER.fullmatch(said.get("submitter", "")) and IMAGE_ID.fullmatch(said.get("imageId", "")):
                news.append(News(Ticket(said["submitter"], said["imageId"]), each.ack_id, dead))
            else:
                log.warning("a message in %s is about no job: %s", subscription, dict(said))
        return news

    def _by_subscription(self, news: Sequence[News]) -> list[tuple[str, list[str]]]:
        parts = ((self._jobs, [each for each in news if not each.dead]), (self._dead, [n for n in news if n.dead]))
        return [(subscription, [each.ack_id for each in some]) for subscription, some in parts if some]


def from_environment() -> Notifications | None:
    """Returns the topic that GRAINSERVE_PUBSUB names, or None where the variable is not set.

    Raises:
        InvalidConfiguration: the name is no topic's, or google-cloud-pubsub is not installed.
    """
    topic = os.environ.get(PUBSUB)
    return Notifications(topic) if topic else None


def batched(tickets: Iterable[Ticket], size: int) -> Iterator[list[Ticket]]:
    """Yields lists of up to `size` tickets; itertools has this from Python 3.12 on."""
    left = iter(tickets)
    while some := list(islice(left, size)):
        yield some


class _translated:  # noqa: N801 - reads as a verb where it is used
    """Turns the errors of google-cloud-pubsub into this package's."""

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from google.api_core.exceptions import GoogleAPIError  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

        if isinstance(error, GoogleAPIError | GoogleAuthError | TimeoutError):
            first = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise NotificationError(f"Pub/Sub: {self._action} failed: {first}") from error
