"""Repairs the histories of submitters: makes entries that are missing, drops those of images that are gone."""

from __future__ import annotations

import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from grainserve.contract import IMAGE_ID
from grainserve.errors import ImageNotFound, InvalidJob
from grainserve.jobs.store import JobStore, entry_of
from grainserve.library.entries import Entry

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Records that are read at the same time."""
STRAY_FOR = timedelta(hours=1)
"""Age from which an entry without a job counts as left behind."""


@dataclass(frozen=True)
class Mended:
    """What was repaired.

    Attributes:
        made: entries made, such as those of jobs from before there were histories.
        dropped: entries deleted whose image is gone.
    """

    made: int
    dropped: int


def mend_histories(store: JobStore) -> Mended:
    """Makes the entry of every job that lacks one; deletes entries older than an hour whose job is gone.

    Only the records of jobs without an entry, or with two, are read.
    """
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in store.entries.all():
        entries[entry.image_id].append(entry)
    names = (name.removeprefix("jobs/").removesuffix(".json") for name in store.bucket.names("jobs/"))
    jobs = {image_id for image_id in names if IMAGE_ID.fullmatch(image_id)}
    unsettled = sorted(image_id for image_id in jobs | entries.keys() if _is_unsettled(image_id, jobs, entries))

    def mend(image_id: str) -> tuple[bool, int]:
        try:
            job = store.job(image_id)
        except InvalidJob as error:
            log.warning("job of image %s left alone: %s", image_id, error)
            return False, 0
        except ImageNotFound:
            job = None
        oldest = store.now() - STRAY_FOR
        own = entry_of(job).object_name if job else None
        strays = [each for each in entries.get(image_id, ()) if each.object_name != own and each.created < oldest]
        for stray in strays:
            store.entries.delete(stray)
        return job is not None and store.note(job), len(strays)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        mended = list(pool.map(mend, unsettled))
    return Mended(sum(made for made, _ in mended), sum(dropped for _, dropped in mended))


def _is_unsettled(image_id: str, jobs: set[str], entries: dict[str, list[Entry]]) -> bool:
    return image_id not in jobs or len(entries.get(image_id, ())) != 1
