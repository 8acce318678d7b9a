"""Reads job records, `jobs/{imageId}.json`, and changes them by compare-and-swap on their generation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from grainserve.contract import check_image_id
from grainserve.errors import GrainserveError, ImageNotFound, InvalidJob, StorageError
from grainserve.jobs.job import LONGEST_LEASE, Job, Lease
from grainserve.storage.bucket import Bucket, PreconditionFailed, Stored
from grainserve.storage.retries import Retries

JSON = "application/json"


class LeaseLost(GrainserveError):
    """Another writer changed the record: this claim is over."""

    code = "lease_lost"


class Records:
    """The job records of a bucket.

    Args:
        bucket: bucket that holds the records.
        now: clock that gives the time, UTC.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now

    def read(self, image_id: str) -> tuple[Job, int]:
        """Returns a record and its generation.

        A lease ends at most `LONGEST_LEASE` after its record was written, by GCS's time, whatever the writer's clock
        said.

        Raises:
            InvalidImageId: the id is no image id.
            ImageNotFound: there is no record; storage was asked twice.
            InvalidJob: the record cannot be read, or is another image's.
        """
        stored = read_or_confirm(self._bucket, record_name(check_image_id(image_id)))
        if stored is None:
            raise ImageNotFound(image_id, self._bucket.name)
        job = Job.from_json(stored.data)
        if job.image_id != image_id:  # copied by hand, or restored under another name
            raise InvalidJob(f"the record of image {image_id!r} is that of {job.image_id!r}: submit the image again")
        if job.lease:
            age = self._bucket.clock.now() - stored.written if stored.written else timedelta(0)
            job = job.held_until(self._now() + LONGEST_LEASE - max(age, timedelta(0)))
        return job, stored.generation

    def swap(self, job: Job, generation: int, lease: Lease | None = None) -> int:
        """Replaces the record of this generation, or a later record under the same lease.

        Args:
            job: new record.
            generation: generation of the record to replace.
            lease: our lease; if it is given, a later record under it is our own and may be replaced, too.

        Returns:
            The new generation.

        Raises:
            LeaseLost: another writer changed the record.
        """
        name, data = record_name(job.image_id), job.to_json()
        tries = Retries(f"changing {name}")
        while True:
            try:
                return self._bucket.replace(name, data, JSON, generation)
            except PreconditionFailed:
                stored = self._bucket.read(name)
            if stored and stored.data == data:
                return stored.generation  # our write's answer was lost, and the retry met our own record
            found = Job.from_json(stored.data).lease if stored and lease else None
            if not (stored and lease and found and found.owner == lease.owner):
                raise LeaseLost(f"the job of image {job.image_id!r} was changed by another dispatcher")
            generation = stored.generation  # this is our own renewal, whose answer was lost
            tries.again()


def read_or_confirm(bucket: Bucket, name: str) -> Stored | None:
    """Reads an object whose absence ends a job for good; returns None if two different requests find none.

    Raises:
        StorageError: the first request finds none and the second one does.
    """
    stored = bucket.read(name)
    if stored is None and bucket.exists(name):
        raise StorageError(f"GCS: {name} in bucket {bucket.name!r} is there and cannot be read: try again later")
    return stored


def record_name(image_id: str) -> str:
    """Returns the name of a record's object."""
    return f"jobs/{image_id}.json"
