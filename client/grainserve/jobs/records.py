"""Job records in the bucket, `jobs/{imageId}.json`: read, and changed by compare-and-swap on their generation."""

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
    """The record was changed by another: this claim is over."""

    code = "lease_lost"


class Records:
    """The job records of a bucket.

    Args:
        bucket: where they are.
        now: the clock, UTC.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now

    def read(self, image_id: str) -> tuple[Job, int]:
        """Returns a record and its generation.

        Whatever the clock of its writer said, a lease ends `LONGEST_LEASE` after the record was written, by GCS's.

        Raises:
            InvalidImageId: not an id.
            ImageNotFound: there is none; storage was asked twice.
            InvalidJob: it cannot be read, or is another image's.
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
        """Writes a record over the one of that generation, or over a later one that bears the same lease of ours.

        Returns:
            The new generation.

        Raises:
            LeaseLost: the record was changed by another.
        """
        name, data = record_name(job.image_id), job.to_json()
        tries = Retries(f"changing {name}")
        while True:
            try:
                return self._bucket.replace(name, data, JSON, generation)
            except PreconditionFailed:
                stored = self._bucket.read(name)
            if stored and stored.data == data:
                return stored.generation  # a write whose answer was lost was retried and has met itself
            found = Job.from_json(stored.data).lease if stored and lease else None
            if not (stored and lease and found and found.owner == lease.owner):
                raise LeaseLost(f"the job of image {job.image_id!r} was changed by another dispatcher")
            generation = stored.generation  # a renewal of ours whose answer was lost
            tries.again()


def read_or_confirm(bucket: Bucket, name: str) -> Stored | None:
    """Reads an object without which a job ends for good; None where two different questions find none.

    Raises:
        StorageError: the second one finds it.
    """
    stored = bucket.read(name)
    if stored is None and bucket.exists(name):
        raise StorageError(f"GCS: {name} in bucket {bucket.name!r} is there and cannot be read: try again later")
    return stored


def record_name(image_id: str) -> str:
    """The name of a record's object."""
    return f"jobs/{image_id}.json"
