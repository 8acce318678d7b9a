"""The job protocol over a bucket: submit, claim, renew, finish, poll.

| object | content | written |
|---|---|---|
| `images/{imageId}` | the bytes as submitted | once |
| `jobs/{imageId}.json` | the job record | compare-and-swap on its generation |
| `pending/{imageId}` | empty marker of an unfinished job | last of the three; deleted when the job has ended |
| `results/{imageId}.json` | the result | once |

Whoever holds the lease works. Nothing breaks when two believe they hold it: the result is written once, and each
change of a record names the generation it was made from.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from grainserve.contract import IMAGE_ID, check_image_id
from grainserve.errors import GrainserveError, ImageNotFound, JobFailed, ResultNotFound
from grainserve.jobs import MAX_ATTEMPTS, Failure, Job, Lease, State
from grainserve.storage import Bucket, PreconditionFailed

JSON = "application/json"


class LeaseLost(GrainserveError):
    """The record was changed by another: this claim is over."""

    code = "lease_lost"


@dataclass(frozen=True)
class Claim:
    """A job this dispatcher works on, and the generation of its record."""

    job: Job
    generation: int


@dataclass(frozen=True)
class Later:
    """The job cannot be claimed before this time (UTC)."""

    at: datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


class JobStore:
    """Images, jobs and results in one bucket.

    Args:
        bucket: where they are.
        lease: how long a claim holds without renewal.
        now: the clock, UTC.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        lease: timedelta = timedelta(seconds=60),
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.bucket = bucket
        self.lease = lease
        self.now = now

    # For those who want results -------------------------------------------------------------------------------------

    def submit(
        self,
        image: bytes,
        *,
        model: str,
        version: str | None,
        options: dict[str, Any],
        content_type: str = "application/octet-stream",
    ) -> str:
        """Stores image, job and marker, in this order, and returns the new image id.

        A crash in between leaves an image, or an image and a job, that nothing points to; never a marker whose
        image or job is missing.
        """
        image_id = uuid.uuid4().hex
        job = Job(image_id, model, version, options, created=self.now())
        self._create(f"images/{image_id}", image, content_type)
        self._create(_job_name(image_id), job.to_json(), JSON)
        self._create(f"pending/{image_id}", b"", "application/octet-stream")
        return image_id

    def poll(self, image_id: str) -> dict[str, Any] | None:
        """Returns the result, or None while the job goes on.

        Raises:
            InvalidImageId: not an id.
            ImageNotFound: no job under this id.
            JobFailed: the job ended without a result.
            ResultNotFound: the result was deleted.
        """
        result = self._result(image_id)
        if result is not None:
            return result
        job = self.job(image_id)
        if job.state is State.FAILED and job.error:
            raise JobFailed(image_id, job.error.code, job.error.message, job.attempts, job.error.status)
        if job.state is not State.DONE:
            return None
        result = self._result(image_id)  # it may have come between the two reads
        if result is None:
            raise ResultNotFound(image_id)
        return result

    def job(self, image_id: str) -> Job:
        """Returns the job record.

        Raises:
            ImageNotFound: there is none.
        """
        return self._read_job(image_id)[0]

    def image(self, image_id: str) -> bytes:
        """Returns the image's bytes as submitted.

        Raises:
            ImageNotFound: there is none.
        """
        stored = self.bucket.read(f"images/{check_image_id(image_id)}")
        if stored is None:
            raise ImageNotFound(image_id, self.bucket.name)
        return stored.data

    # For dispatchers ------------------------------------------------------------------------------------------------

    def pending(self) -> Iterator[str]:
        """Yields the image ids of unfinished jobs."""
        for name in self.bucket.names("pending/"):
            image_id = name.removeprefix("pending/")
            if IMAGE_ID.fullmatch(image_id):
                yield image_id

    def claim(self, image_id: str, owner: str) -> Claim | Later | None:
        """Tries to take a job.

        Returns:
            The claim; or the time before which it cannot be claimed; or None when the job has ended (its marker is
            then gone too).
        """
        while True:
            try:
                job, generation = self._read_job(image_id)
            except ImageNotFound:
                self._drop_marker(image_id)  # someone deleted the job
                return None
            at = job.claimable_at()
            if at is None:
                self._drop_marker(image_id)  # whoever ended the job died before this
                return None
            now = self.now()
            if at > now:
                return Later(at)
            if job.attempts and self._has_result(image_id):  # whoever wrote the result died before saying so
                self._end(image_id)
                return None
            if job.attempts >= MAX_ATTEMPTS:  # the last attempt took its dispatcher with it
                reason = Failure("attempts_exhausted", f"{job.attempts} attempts began and none came to an end")
                self._finish_with(Claim(job, generation), job.failed(job.error or reason))
                return None
            claimed = job.claimed(Lease(f"{owner}/{uuid.uuid4().hex}", now + self.lease))
            try:
                return Claim(claimed, self._swap(claimed, generation))
            except LeaseLost:
                continue  # another dispatcher was first: its record says what comes next

    def renew(self, claim: Claim) -> Claim:
        """Extends the lease.

        Raises:
            LeaseLost: another has changed the record.
        """
        job = claim.job.renewed(self.now() + self.lease)
        return Claim(job, self._swap(job, claim.generation))

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Stores the result, once, then ends the job. A result that is there already stays and is no error."""
        image_id = claim.job.image_id
        data = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        self._create(f"results/{image_id}.json", data, JSON)
        self._end(image_id)

    def attempt_failed(self, claim: Claim, error: Failure) -> Job:
        """Notes a failed attempt; the third one fails the job. Returns the record as it now is."""
        return self._finish_with(claim, claim.job.attempt_failed(error, self.now()))

    def reject(self, claim: Claim, error: Failure) -> Job:
        """Fails the job at once. Returns the record as it now is."""
        return self._finish_with(claim, claim.job.failed(error))

    def release(self, claim: Claim) -> Job:
        """Puts the job back without counting the attempt. Returns the record as it now is."""
        return self._finish_with(claim, claim.job.released())

    # Inside ---------------------------------------------------------------------------------------------------------

    def _finish_with(self, claim: Claim, job: Job) -> Job:
        try:
            self._swap(job, claim.generation)
        except LeaseLost:
            return self.job(job.image_id)  # its new owner decides
        if job.state is State.FAILED:
            self._drop_marker(job.image_id)
        return job

    def _end(self, image_id: str) -> None:
        """Result stored: done, whoever holds the lease; then the marker goes."""
        while True:
            job, generation = self._read_job(image_id)
            if job.state is State.DONE:
                break
            try:
                self._swap(job.done(), generation)
                break
            except LeaseLost:
                continue  # the record moved on (a renewal, a takeover): read it again
        self._drop_marker(image_id)

    def _swap(self, job: Job, generation: int) -> int:
        name, data = _job_name(job.image_id), job.to_json()
        try:
            return self.bucket.replace(name, data, JSON, generation)
        except PreconditionFailed:
            # A write whose answer was lost is retried by the library and then meets itself.
            stored = self.bucket.read(name)
            if stored and stored.data == data:
                return stored.generation
            raise LeaseLost(f"the job of image {job.image_id!r} was changed by another dispatcher") from None

    def _create(self, name: str, data: bytes, content_type: str) -> None:
        try:
            self.bucket.create(name, data, content_type)
        except PreconditionFailed:
            return  # written before: our own retried write, or the result of another dispatcher

    def _result(self, image_id: str) -> dict[str, Any] | None:
        stored = self.bucket.read(f"results/{check_image_id(image_id)}.json")
        if stored is None:
            return None
        result: dict[str, Any] = json.loads(stored.data)
        return result

    def _has_result(self, image_id: str) -> bool:
        return self.bucket.exists(f"results/{image_id}.json")

    def _read_job(self, image_id: str) -> tuple[Job, int]:
        stored = self.bucket.read(_job_name(check_image_id(image_id)))
        if stored is None:
            raise ImageNotFound(image_id, self.bucket.name)
        return Job.from_json(stored.data), stored.generation

    def _drop_marker(self, image_id: str) -> None:
        self.bucket.delete(f"pending/{image_id}")


def _job_name(image_id: str) -> str:
    return f"jobs/{image_id}.json"
