"""The history of a caller's images as the gateway tells it: pages of entries with the state of each image's job."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from grainserve.dispatch.large import tiles_done
from grainserve.errors import GrainserveError, ImageNotFound, InvalidJob
from grainserve.gateway.pace import Pace
from grainserve.jobs.job import Job, State
from grainserve.jobs.store import DELETED, JobStore, entry_of
from grainserve.library.entries import Entry

AT_ONCE = 16
"""Records that are read at the same time, for all callers."""
RESULTS_AT_ONCE = 4
"""Results that are looked at at the same time, for all callers: old ones are read for it, and may have tens of MB."""
REMEMBERED = 20_000
"""Results whose summary is remembered, a few hundred bytes each."""
SEARCHED = 5000
"""Most entries that a page is searched for in; the rest is left to the next page."""
LOOKED_AT = 500
"""Most records that are read for a page."""
POSITIONS = 1000
"""Positions in the queue are counted up to this number: one listing call."""


@dataclass(frozen=True)
class Wanted:
    """Which images a page is to hold.

    Attributes:
        limit: most images.
        after: place of the first entry to look at; empty for the newest.
        search: text in name or tags.
        tag: tag; None for any.
        state: state of the job; None for any.
        sample: ids of the images of a sample; None for any image.
    """

    limit: int
    after: str = ""
    search: str = ""
    tag: str | None = None
    state: State | None = None
    sample: frozenset[str] | None = None

    def matches(self, entry: Entry) -> bool:
        """Tells whether an entry is wanted, as far as it tells."""
        return (self.sample is None or entry.image_id in self.sample) and entry.matches(self.search, self.tag)


class History:
    """The histories of all callers.

    Args:
        store: job store.

    Attributes:
        pace: pace at which jobs end.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self.pace = Pace()
        self._pool = ThreadPoolExecutor(AT_ONCE, "history")
        self._results = threading.Semaphore(RESULTS_AT_ONCE)
        self._lock = threading.Lock()
        self._summaries: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def page(self, submitter: str, wanted: Wanted) -> tuple[list[dict[str, Any]], str | None]:
        """Returns images, newest first, and the place of the next page's first entry; None: there is none.

        A page may hold fewer images than wanted although there are more: the search goes on with the next page.
        """
        found: list[dict[str, Any]] = []
        read = 0
        for seen, (entry, image) in enumerate(self._walk(submitter, wanted)):
            if len(found) == wanted.limit or seen == SEARCHED or read == LOOKED_AT:
                return found, entry.place
            if image is not None:
                read += 1
                if wanted.state in (None, image["state"]):
                    found.append(image)
        return found, None

    def _walk(self, submitter: str, wanted: Wanted) -> Iterator[tuple[Entry, dict[str, Any] | None]]:
        """Yields entries, newest first, with what is known of the image where the entry matches."""
        entries = self._store.entries.listed(submitter, wanted.after)
        while some := list(islice(entries, wanted.limit + 1)):  # one more tells whether there is a next page
            matching = [entry for entry in some if wanted.matches(entry)]
            images = dict(zip(matching, self.images(matching), strict=True))
            for entry in some:
                yield entry, images.get(entry)

    def images(self, entries: Sequence[Entry]) -> list[dict[str, Any] | None]:
        """Returns what is known of images, in the order of their entries; None for one whose job is gone."""
        positions: dict[str, int] = {}
        jobs = list(self._pool.map(self._job, entries))
        for job in jobs:
            if job and job.told is State.QUEUED and job.submitter not in positions:
                positions[job.submitter] = self.position(job)
        return list(self._pool.map(lambda entry, job: self._image(entry, job, positions), entries, jobs))

    def image(self, job: Job) -> dict[str, Any]:
        """Returns what is known of one image."""
        return self._told(self._store.entries.find(entry_of(job)), job, self.position(job))

    def position(self, job: Job) -> int:
        """Returns the position of a job in its submitter's queue; 0 if it does not wait."""
        return self._store.pending.count(POSITIONS, job.submitter) if job.told is State.QUEUED else 0

    def expected(self, job: Job, position: int) -> float | None:
        """Returns the time that a job is expected to take, s; None where none is known, or for a large image."""
        return None if job.is_large else self.pace.expected(job, position, self._store.now())

    def tiles(self, job: Job) -> dict[str, Any]:
        """Returns how many tiles of a large image are done, as `tiles`; nothing before they are laid."""
        done = len(tiles_done(self._store, job))
        return {"tiles": {"done": done, "total": job.tiles.count}} if job.tiles else {}

    def _job(self, entry: Entry) -> Job | None:
        try:
            job = self._store.job(entry.image_id)
        except (ImageNotFound, InvalidJob):
            return None
        gone = job.error == DELETED or entry_of(job).place != entry.place  # submitted anew, it has another entry
        return None if gone else job

    def _image(self, entry: Entry, job: Job | None, positions: dict[str, int]) -> dict[str, Any] | None:
        return self._told(entry, job, positions.get(job.submitter, 0)) if job else None

    def _told(self, entry: Entry, job: Job, position: int) -> dict[str, Any]:
        now = self._store.now()
        told: dict[str, Any] = {
            "imageId": job.image_id,
            "name": entry.name,
            "tags": list(entry.tags),
            "created": job.created.isoformat(),
            "state": job.told.value,
        }
        if not job.ended:
            return told | {"position": position, "expectedSeconds": self.expected(job, position)} | self.tiles(job)
        self.pace.ended(job.image_id, now)
        if job.error:
            return told | {"error": {"code": job.error.code, "message": job.error.message}}
        return told | self._summary(job)

    def _summary(self, job: Job) -> dict[str, Any]:
        """Returns size, number of grains and scale of a job that is done; nothing where its result cannot be read."""
        key = job.image_id, job.created.isoformat()
        with self._lock:
            known = self._summaries.get(key)
        if known is None:
            try:
                with self._results:
                    known = self._store.summary(job.image_id)
            except GrainserveError:
                return {}  # deleted, or damaged: whoever asks for the result itself is told
            with self._lock:
                self._summaries[key] = known
                if len(self._summaries) > REMEMBERED:
                    self._summaries.popitem(last=False)
        revisions = self._store.scales.revisions(job.image_id)
        return known | {"umPerPx": revisions[-1].um_per_px if revisions else job.options.get("um_per_px")}
