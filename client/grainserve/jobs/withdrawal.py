"""Withdraws jobs that nobody waits for any more, so that they do not run before jobs that are wanted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from grainserve.errors import ImageNotFound, InvalidJob, StorageError
from grainserve.jobs.store import JobStore

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Jobs cancelled at the same time: each costs five calls, and a folder of images may have thousands."""


def withdraw(store: JobStore, image_ids: Iterable[str]) -> list[str]:
    """Cancels jobs that have not ended; passes over ids under which nothing was stored.

    Jobs that storage does not answer for stay in the queue, and a warning says how to find them.

    Args:
        store: store of the jobs.
        image_ids: image ids; each counts once.

    Returns:
        The ids of the jobs that were cancelled.
    """

    def cancelled(image_id: str) -> bool:
        try:
            return store.cancel(image_id)
        except (ImageNotFound, InvalidJob):  # the submission did not get that far; or the record was damaged by hand
            return False

    every = list(dict.fromkeys(image_ids))
    answers: list[bool] = []
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="grainserve-withdrawal")
    try:
        answers.extend(pool.map(cancelled, every))
    except StorageError as error:
        log.warning("not all of %d jobs could be withdrawn: %s", len(every), error)
        log.warning("`grainserve jobs` lists those that are left, `grainserve jobs cancel` takes them back")
    finally:
        # Does not wait where an error or a second Ctrl-C ends this.
        pool.shutdown(wait=len(answers) == len(every), cancel_futures=True)
    return [image_id for image_id, done in zip(every, answers, strict=False) if done]
