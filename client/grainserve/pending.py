"""The markers of unfinished jobs, `pending/{submitter}/{imageId}`, looked at without reading them all.

Image ids are random, so a page of names from a random place on is a fair sample: many dispatchers that each take their
own find different jobs, however many there are, for one listing call a page.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from grainserve.contract import IMAGE_ID
from grainserve.storage import Bucket

PREFIX = "pending/"
SHARE = 4
"""Jobs of a submitter in a look, at least: each costs a call or two, however few it brings."""


@dataclass(frozen=True)
class Ticket:
    """An unfinished job.

    Attributes:
        submitter: whose it is.
        image_id: its image.
    """

    submitter: str
    image_id: str

    @property
    def marker(self) -> str:
        """The name of its marker."""
        return f"{PREFIX}{self.submitter}/{self.image_id}"


class Pending:
    """The unfinished jobs of a bucket.

    Args:
        bucket: where the markers are.
        chance: draws submitters and places.
    """

    def __init__(self, bucket: Bucket, chance: random.Random | None = None) -> None:
        self._bucket = bucket
        self._chance = chance or random.Random()

    def some(self, count: int) -> Iterator[Ticket]:
        """Looks for work: about as many jobs of each submitter, in an order drawn anew each time.

        Args:
            count: how many are wanted in all, about.

        Yields:
            The tickets, a page of each submitter after the other's: who has enough asks no further, and the submitters
            that are left cost no call.
        """
        submitters = self._bucket.folders(PREFIX)
        self._chance.shuffle(submitters)
        share = max(SHARE, -(-count // max(1, len(submitters))))
        for submitter in submitters:
            yield from self._page(submitter, share)

    def all(self) -> Iterator[Ticket]:
        """Yields every unfinished job, a page of names at a time."""
        for name in self._bucket.names(PREFIX):
            if ticket := _read(name):
                yield ticket

    def count(self, limit: int, submitter: str | None = None) -> int:
        """How many unfinished jobs there are, of one submitter or of all, counted up to a limit."""
        return sum(1 for _ in self._bucket.names(_folder(submitter), limit=limit))

    def made(self, limit: int, submitter: str | None = None) -> list[tuple[Ticket, datetime]]:
        """Unfinished jobs, of one submitter or of all, up to a limit, and when each was submitted; in order of name."""
        found = ((_read(name), at) for name, at in self._bucket.times(_folder(submitter), limit=limit))
        return [(ticket, at) for ticket, at in found if ticket]

    def _page(self, submitter: str, count: int) -> list[Ticket]:
        folder = f"{PREFIX}{submitter}/"
        start = f"{folder}{self._chance.randrange(16**4):04x}"
        names = list(self._bucket.names(folder, start=start, limit=count))
        if len(names) < count:  # the end was reached: on from the beginning
            names += [name for name in self._bucket.names(folder, limit=count) if name < start][: count - len(names)]
        return [ticket for name in names if (ticket := _read(name))]


def _folder(submitter: str | None) -> str:
    return f"{PREFIX}{submitter}/" if submitter else PREFIX


def _read(name: str) -> Ticket | None:
    """The ticket that a marker's name holds; None for a name that is no marker."""
    submitter, _, image_id = name.removeprefix(PREFIX).partition("/")
    return Ticket(submitter, image_id) if submitter and IMAGE_ID.fullmatch(image_id) else None
