"""The time that jobs take, learnt from those that this gateway saw begin to wait and saw end."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from datetime import datetime
from statistics import median

from grainserve.jobs.job import Job

WATCHED = 10_000
"""Most jobs that are watched at once; the oldest are forgotten."""
RECENT = 20
"""Jobs that the pace is taken from."""


class Pace:
    """The pace at which jobs ended lately. Any number of threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: OrderedDict[str, tuple[datetime, int, float | None]] = OrderedDict()  # since, position, expected
        self._recent: deque[float] = deque(maxlen=RECENT)  # s for each place in the queue

    def expected(self, job: Job, position: int, now: datetime) -> float | None:
        """Returns the time that a job is expected to take from its submission on, s; None where none is known.

        It is told once, when the job is first asked for, so that it does not run away from those who wait.

        Args:
            job: job that goes on.
            position: its position in the queue; 0 while it runs.
            now: GCS's time, UTC.
        """
        with self._lock:
            since, place, told = self._watched.get(job.image_id, (now, max(1, position), None))
            if told is None and self._recent:
                told = round((since - job.created).total_seconds() + median(self._recent) * place, 1)
            self._watched[job.image_id] = since, place, told
            if len(self._watched) > WATCHED:
                self._watched.popitem(last=False)
            return told

    def ended(self, image_id: str, now: datetime) -> None:
        """Notes that a job has ended."""
        with self._lock:
            if watched := self._watched.pop(image_id, None):
                since, place, _ = watched
                self._recent.append(max(0.0, (now - since).total_seconds()) / place)
