"""Repairs what no look at `pending/` finds: unended jobs without a marker, and results without a job.

Records, results and markers are written one after the other. So a process that dies in between, or a person who
restores or deletes objects by hand, leaves one without the other. Nearly all jobs that are well can be told by listings
alone: the record of a job that is done was written after its result. Only the records of the others are read.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from grainserve.contract import IMAGE_ID
from grainserve.errors import ImageNotFound, InvalidJob
from grainserve.jobs.job import State
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Found

log = logging.getLogger(__name__)

RECORDS, RESULTS, END = "jobs/", "results/", ".json"
AT_ONCE = 16
"""Markers that are looked at at the same time."""
PAGE = 1000
"""Names that GCS lists in a call."""


class Sweep:
    """A walk through the records and results of a bucket that repairs them.

    Args:
        store: store to repair.
        start: image id, or the beginning of one, to begin at.
        page: records listed in a step.

    Attributes:
        marked: number of jobs that had no marker and have one now.
        dropped: number of results deleted because their job has failed or is gone.
    """

    def __init__(self, store: JobStore, *, start: str = "", page: int = PAGE) -> None:
        self.marked = 0
        self.dropped = 0
        self._store = store
        self._page = page
        self._start = start

    def step(self, most: int = PAGE) -> bool:
        """Takes the next step; returns whether it was the last one, after which the next begins anew.

        Args:
            most: largest number of records to read; a step also costs at least two listings of a page.
        """
        start, bucket = self._start, self._store.bucket
        records = list(bucket.entries(RECORDS, start=RECORDS + start, limit=self._page))
        end = records.pop().name.removeprefix(RECORDS) if len(records) == self._page else ""  # the next page's first
        found = bucket.entries(RESULTS, start=RESULTS + start, end=RESULTS + end if end else "")
        results = {_image_id(each): each for each in found}
        known = {_image_id(each): each for each in records}
        unsettled = {each for each, record in known.items() if not _is_done(record, results.get(each))}
        suspects = sorted(each for each in unsettled | (results.keys() - known.keys()) if IMAGE_ID.fullmatch(each))
        for image_id in suspects[:most]:
            self._repair(image_id, results.get(image_id))
        self._start = suspects[most] if len(suspects) > most else end
        return not self._start

    def clear_markers(self) -> int:
        """Drops the markers of jobs that have ended or are gone, as dispatchers do; returns how many.

        This reads the record of every pending job.
        """

        def clear(ticket: Ticket) -> bool:
            try:
                return self._store.unended(ticket) is None
            except InvalidJob as error:
                log.warning("job of image %s left alone: %s", ticket.image_id, error)
                return False

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(clear, self._store.pending.all()))

    def _repair(self, image_id: str, result: Found | None) -> None:
        try:
            job = self._store.job(image_id)
        except InvalidJob as error:
            log.warning("job of image %s left alone: %s", image_id, error)
            return
        except ImageNotFound:
            job = None
        if job is None or job.state is State.FAILED:
            if result:  # listed before the record was read, so no later submission's under the same id
                self._store.bucket.delete(result.name, result.generation)
                self.dropped += 1
                log.warning("image %s: a result dropped whose job %s", image_id, "failed" if job else "is gone")
            return
        ticket = Ticket(job.submitter, image_id)
        # A submission under way may look like this, too: its marker is then there a moment earlier.
        if not job.ended and not self._store.bucket.exists(ticket.marker):
            self._store.note(job)
            if not self._store.mark(ticket):
                return
            self.marked += 1
            log.warning("%s: %s and without a marker; it has one again", job.about, job.state)


def _is_done(record: Found, result: Found | None) -> bool:
    """Tells whether a job is done, as far as listings show."""
    return result is not None and result.written < record.written


def _image_id(found: Found) -> str:
    return found.name.partition("/")[2].removesuffix(END)
