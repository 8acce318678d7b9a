"""The markers of unfinished jobs, `pending/{submitter}/{imageId}`, looked at without reading them all.

Image ids are random, so a page of names from a random place on is a fair sample. Dispatchers that each draw a place of
their own find different jobs, however many dispatchers there are, for one listing call per page.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from grainserve.contract import IMAGE_ID
from grainserve.storage.bucket import Bucket, Found

PREFIX = "pending/"
SHARE = 4
"""Fewest jobs that a look asks for of each submitter: the look costs a call or two, however few jobs it brings."""


@dataclass(frozen=True)
class Ticket:
    """An unfinished job, as its marker names it.

    Attributes:
        submitter: name of the submitter.
        image_id: image id.
        generation: generation of the marker, where it is known.
    """

    submitter: str
    image_id: str
    generation: int | None = field(default=None, compare=False)

    @property
    def marker(self) -> str:
        """Name of the marker's object."""
        return f"{PREFIX}{self.submitter}/{self.image_id}"


class Markers:
    """The unfinished jobs of a bucket.

    Args:
        bucket: bucket that holds the markers.
        chance: random generator that draws submitters and places; None makes one.
    """

    def __init__(self, bucket: Bucket, chance: random.Random | None = None) -> None:
        self._bucket = bucket
        self._chance = chance or random.Random()

    def some(self, count: int) -> Iterator[Ticket]:
        """Yields unfinished jobs: about as many of each submitter, in an order drawn anew each time.

        Args:
            count: about how many jobs are wanted in all.

        Yields:
            Tickets, one submitter's page after the other's. A caller that has enough stops, and the remaining
                submitters cost no call.
        """
        submitters = self._bucket.folders(PREFIX)
        self._chance.shuffle(submitters)
        share = max(SHARE, -(-count // max(1, len(submitters))))
        for submitter in submitters:
            yield from self._page(submitter, share)

    def all(self) -> Iterator[Ticket]:
        """Yields every unfinished job, a page of names at a time."""
        for found in self._bucket.entries(PREFIX):
            if ticket := _read(found):
                yield ticket

    def count(self, limit: int, submitter: str | None = None) -> int:
        """Counts the unfinished jobs.

        Args:
            limit: number at which counting stops.
            submitter: whose jobs to count; None counts all.
        """
        return sum(1 for _ in self._bucket.names(_folder(submitter), limit=limit))

    def made(self, limit: int, submitter: str | None = None) -> list[tuple[Ticket, datetime]]:
        """Returns unfinished jobs and when each was submitted, in order of name.

        Args:
            limit: largest number of jobs.
            submitter: whose jobs to return; None for all.
        """
        found = self._bucket.entries(_folder(submitter), limit=limit)
        return [(ticket, each.written) for each in found if (ticket := _read(each))]

    def _page(self, submitter: str, count: int) -> list[Ticket]:
        folder = f"{PREFIX}{submitter}/"
        start = f"{folder}{self._chance.randrange(16**4):04x}"
        page = list(self._bucket.entries(folder, start=start, limit=count))
        if len(page) < count:  # the end was reached: goes on from the beginning
            first = [found for found in self._bucket.entries(folder, limit=count) if found.name < start]
            page += first[: count - len(page)]
        return [ticket for found in page if (ticket := _read(found))]


def _folder(submitter: str | None) -> str:
    return f"{PREFIX}{submitter}/" if submitter else PREFIX


def _read(found: Found) -> Ticket | None:
    """Returns the ticket that a marker's name holds; None for a name that is no marker's."""
    submitter, _, image_id = found.name.removeprefix(PREFIX).partition("/")
    return Ticket(submitter, image_id, found.generation) if submitter and IMAGE_ID.fullmatch(image_id) else None
