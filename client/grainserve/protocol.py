"""The job protocol over a bucket: submit, claim, renew, finish, poll.

| object | content | written |
|---|---|---|
| `images/{imageId}` | the bytes as submitted | once |
| `jobs/{imageId}.json` | the job record | compare-and-swap on its generation |
| `pending/{submitter}/{imageId}` | empty marker of an unfinished job | last; deleted when the job has ended |
| `results/{imageId}.json` | the result | once |
| `keys/{digest}.json` | the image id given for a submitter's idempotency key | once, before the others |

The record is the truth: a job is done when it says so, and what has ended stays as it ended. Whoever holds the lease
works. Nothing breaks when two believe they hold it: the result is written once, and each change of a record names the
generation it was made from. All times are GCS's (`clock.py`), so that no machine's clock matters.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from grainserve import trace
from grainserve.contract import SUBMITTER, check_image_id
from grainserve.errors import (
    IdempotencyConflict,
    ImageNotFound,
    InvalidConfiguration,
    InvalidResult,
    JobFailed,
    ResultNotFound,
)
from grainserve.jobs import LONGEST_LEASE, MAX_ATTEMPTS, Failure, Job, Lease, State
from grainserve.notifications import NotificationError, Notifications
from grainserve.pending import Pending, Ticket
from grainserve.records import JSON, LeaseLost, Records, record_name
from grainserve.storage import Bucket, PreconditionFailed

log = logging.getLogger(__name__)


CANCELLED = Failure("cancelled", "the job was cancelled before it was done: submit the image again to have it measured")


@dataclass(frozen=True)
class Claim:
    """A job this dispatcher works on, and the generation of its record."""

    job: Job
    generation: int


@dataclass(frozen=True)
class Later:
    """The job cannot be claimed for so many seconds."""

    seconds: float


def check_submitter(submitter: str) -> str:
    """Returns the name unchanged.

    Raises:
        InvalidConfiguration: it is not 1 to 63 lower-case letters, digits, `-` or `_`. Names become folders.
    """
    if not SUBMITTER.fullmatch(submitter):
        raise InvalidConfiguration(
            f"{submitter!r} is no submitter's name: 1 to 63 lower-case letters, digits, '-' or '_', beginning with "
            "a letter or a digit"
        )
    return submitter


class JobStore:
    """Images, jobs and results in one bucket.

    Args:
        bucket: where they are.
        lease: how long a claim holds without renewal, `LONGEST_LEASE` at most.
        now: the clock, UTC; GCS's when not given.
        notifications: says that jobs are pending, where looking at `pending/` is not enough.

    Raises:
        InvalidConfiguration: the lease is longer than others would honour.
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        lease: timedelta = timedelta(seconds=60),
        now: Callable[[], datetime] | None = None,
        notifications: Notifications | None = None,
    ) -> None:
        if lease > LONGEST_LEASE:
            raise InvalidConfiguration(f"a lease of {lease} is longer than others honour: {LONGEST_LEASE} at most")
        self.bucket = bucket
        self.pending = Pending(bucket)
        self.lease = lease
        self.now = now or bucket.clock.now
        self._records = Records(bucket, self.now)
        self.notifications = notifications

    # For those who want results -------------------------------------------------------------------------------------

    def submit(
        self,
        image: bytes,
        *,
        model: str,
        version: str | None,
        options: dict[str, Any],
        submitter: str,
        content_type: str = "application/octet-stream",
        key: str | None = None,
        traceparent: str | None = None,
        on_id: Callable[[str], None] | None = None,
    ) -> str:
        """Stores image, job and marker, in this order, and returns the image id.

        A crash in between leaves an image, or an image and a job, that nothing points to; never a marker whose
        image or job is missing.

        Args:
            image: the bytes of an image file.
            model: TorchServe model.
            version: its version; None for the default one.
            options: as checked.
            submitter: whose job it is.
            content_type: of the image.
            key: the submitter's own name for this submission. Submitted again under the same key, the image has the
                same id and makes no second job; what a crash had left out is made good.
            traceparent: the trace it belongs to, as W3C writes it; a new one when not given.
            on_id: told of the image id before there is anything to work on under it, for a caller who may be
                interrupted and then wants to cancel; what it raises ends the submission.

        Raises:
            IdempotencyConflict: another image, or other options, were submitted under this key.
        """
        image_id = uuid.uuid4().hex
        check_submitter(submitter)
        if key is not None:
            content = json.dumps([model, version, options], sort_keys=True).encode()
            fingerprint = hashlib.sha256(hashlib.sha256(image).digest() + content).hexdigest()
            image_id = self._id_for_key(submitter, key, image_id, fingerprint)
        if on_id:
            on_id(image_id)
        self._create(f"images/{image_id}", image, content_type)
        parent = trace.traceparent(traceparent)
        job = Job(image_id, submitter, model, version, options, created=self.now(), traceparent=parent)
        if (
            not self._create(record_name(image_id), job.to_json(), JSON)
            and key is not None
            and self.job(image_id).ended
        ):
            return image_id
        self._create(Ticket(submitter, image_id).marker, b"", "application/octet-stream")
        self._announce(Ticket(submitter, image_id))
        return image_id

    def poll(self, image_id: str) -> dict[str, Any] | None:
        """Returns the result, or None while the job goes on.

        Raises:
            InvalidImageId: not an id.
            ImageNotFound: no job under this id.
            JobFailed: the job ended without a result.
            ResultNotFound: the result was deleted.
            InvalidResult: what is stored in its place is not of this image.
        """
        job = self.job(image_id)
        if job.state is State.FAILED and job.error:
            raise JobFailed(image_id, job.error.code, job.error.message, job.attempts, job.error.status)
        return self.result(image_id) if job.state is State.DONE else None

    def result(self, image_id: str) -> dict[str, Any]:
        """Returns the result of a job that is done.

        Raises:
            ResultNotFound: there is none.
            InvalidResult: what is stored in its place is not of this image.
        """
        stored = self.bucket.read(_result_name(check_image_id(image_id)))
        if stored is None:
            raise ResultNotFound(image_id)
        try:
            result: dict[str, Any] = json.loads(stored.data)
            found = result["metadata"]["imageId"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InvalidResult(f"what is stored for image {image_id!r} is no result: {error!r:.200}") from error
        if found != image_id:
            raise InvalidResult(f"what is stored for image {image_id!r} is of another, {found!r:.200}")
        return result

    def job(self, image_id: str) -> Job:
        """Returns the job record.

        Raises:
            ImageNotFound: there is none.
        """
        return self._records.read(image_id)[0]

    def image(self, image_id: str) -> bytes:
        """Returns the image's bytes as submitted.

        Raises:
            ImageNotFound: there is none.
        """
        stored = self.bucket.read(f"images/{check_image_id(image_id)}")
        if stored is None:
            raise ImageNotFound(image_id, self.bucket.name)
        return stored.data

    def delete(self, image_id: str) -> None:
        """Deletes image, job and result. A dispatcher that is at work on it finds the record gone and drops its result.

        The record goes last, so that a deletion that was interrupted can be asked for again.

        Raises:
            ImageNotFound: no job under this id.
        """
        job = self.job(image_id)
        for name in (_ticket(job).marker, f"images/{image_id}", _result_name(image_id), record_name(image_id)):
            self.bucket.delete(name)
        self.bucket.delete(_result_name(image_id))  # one that was written meanwhile

    def cancel(self, image_id: str) -> bool:
        """Fails a job that has not ended, as `cancelled`, whoever works on it. Returns whether it had not ended.

        A dispatcher that is at work on it finds its lease gone and drops its result.

        Raises:
            InvalidImageId: not an id.
            ImageNotFound: no job under this id.
            InvalidJob: its record cannot be read.
        """
        while True:
            job, generation = self._records.read(image_id)
            if job.ended:
                return False
            try:
                if self.bucket.exists(_result_name(image_id)):
                    self._end(Claim(job, generation))  # it is done, and its dispatcher about to say so, or dead
                    return False
                self._change(job.failed(CANCELLED), generation)
            except LeaseLost:
                continue  # its record says what comes next
            self.bucket.delete(_result_name(image_id))  # one that was written meanwhile
            return True

    # For dispatchers ------------------------------------------------------------------------------------------------

    def claim(self, ticket: Ticket, owner: str) -> Claim | Later | None:
        """Tries to take a job.

        Returns:
            The claim; or how long it cannot be claimed; or None when the job has ended (its marker is then gone too).
        """
        while True:
            try:
                job, generation = self._records.read(ticket.image_id)
            except ImageNotFound:
                self.bucket.delete(ticket.marker)  # someone deleted the job
                return None
            if job.ended:
                self._drop_marker(job)  # whoever ended the job died before this
                return None
            now = self.now()
            if (wait := job.claimable_in(now)) > 0:
                return Later(wait)
            claim = Claim(job, generation)
            try:
                if job.attempts and self.bucket.exists(_result_name(job.image_id)):
                    self._end(claim)  # whoever wrote the result died before saying so
                    return None
                if job.attempts >= MAX_ATTEMPTS:  # the last attempt took its dispatcher with it
                    reason = Failure("attempts_exhausted", f"{job.attempts} attempts began and none came to an end")
                    self._change(job.failed(job.error or reason), generation)
                    return None
                claimed = job.claimed(Lease(f"{owner}/{uuid.uuid4().hex}", now + self.lease))
                return Claim(claimed, self._records.swap(claimed, generation))
            except LeaseLost:
                continue  # another dispatcher was first: its record says what comes next

    def give_up(self, ticket: Ticket, reason: Failure) -> None:
        """Fails a job that nobody works on; one that has ended or is leased stays as it is."""
        try:
            job, generation = self._records.read(ticket.image_id)
        except ImageNotFound:
            return
        if job.ended or job.claimable_in(self.now()) > 0:
            return
        with suppress(LeaseLost):  # somebody works on it after all
            self._change(job.failed(job.error or reason), generation)

    def renew(self, claim: Claim) -> Claim:
        """Extends the lease.

        Raises:
            LeaseLost: another has changed the record.
        """
        job = claim.job.renewed(self.now() + self.lease)
        return Claim(job, self._records.swap(job, claim.generation, claim.job.lease))

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Stores the result, once, then ends the job.

        A result that is there already stays and is no error. That of a job that has failed or was deleted meanwhile is
        dropped: what has ended stays as it ended.
        """
        data = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        self._create(_result_name(claim.job.image_id), data, JSON)
        while True:
            try:
                return self._end(claim)
            except LeaseLost:
                try:
                    claim = Claim(*self._records.read(claim.job.image_id))  # a renewal, a takeover, another's end
                except ImageNotFound:
                    return self.bucket.delete(_result_name(claim.job.image_id))

    def attempt_failed(self, claim: Claim, error: Failure) -> Job:
        """Notes a failed attempt; the third one fails the job. Returns the record as it now is."""
        return self._change_unless_lost(claim, claim.job.attempt_failed(error, self.now()))

    def postpone(self, claim: Claim, error: Failure) -> Job:
        """Puts back a job whose model TorchServe lacks; that fails it in the end. Returns the record as it now is."""
        return self._change_unless_lost(claim, claim.job.postponed(error, self.now()))

    def reject(self, claim: Claim, error: Failure) -> Job:
        """Fails the job at once. Returns the record as it now is."""
        return self._change_unless_lost(claim, claim.job.failed(error))

    def release(self, claim: Claim) -> Job:
        """Puts the job back without counting the attempt. Returns the record as it now is."""
        return self._change_unless_lost(claim, claim.job.released())

    # Inside ---------------------------------------------------------------------------------------------------------

    def _announce(self, ticket: Ticket) -> None:
        try:
            if self.notifications:
                self.notifications.announce(ticket)
        except NotificationError as error:
            log.warning("%s; dispatchers find it when they next look at pending/", error)

    def _id_for_key(self, submitter: str, key: str, image_id: str, fingerprint: str) -> str:
        """The image id that belongs to a key: this one, unless there is one already."""
        name = f"keys/{hashlib.sha256(f'{submitter}/{key}'.encode()).hexdigest()}.json"
        given = {"imageId": image_id, "fingerprint": fingerprint}
        if self._create(name, json.dumps(given).encode(), JSON):
            return image_id
        stored = self.bucket.read(name)
        if stored is None:  # deleted between the two calls
            return self._id_for_key(submitter, key, image_id, fingerprint)
        first: dict[str, str] = json.loads(stored.data)
        if first["fingerprint"] != fingerprint:
            raise IdempotencyConflict(key, first["imageId"])
        return first["imageId"]

    def _end(self, claim: Claim) -> None:
        """Result stored: done, whoever holds the lease; then the marker goes. A job that failed keeps no result.

        Raises:
            LeaseLost: the record was changed meanwhile.
        """
        job = claim.job
        if job.state is State.FAILED:
            self.bucket.delete(_result_name(job.image_id))
        elif job.state is not State.DONE:
            job = job.done()
            self._records.swap(job, claim.generation)
        self._drop_marker(job)

    def _change(self, job: Job, generation: int, lease: Lease | None = None) -> Job:
        """Writes a record; that of a failed job drops its marker.

        Raises:
            LeaseLost: the record was changed meanwhile.
        """
        self._records.swap(job, generation, lease)
        if job.ended:
            self._drop_marker(job)
        return job

    def _change_unless_lost(self, claim: Claim, job: Job) -> Job:
        try:
            return self._change(job, claim.generation, claim.job.lease)
        except LeaseLost:
            return self.job(job.image_id)  # its new owner decides

    def _create(self, name: str, data: bytes, content_type: str) -> bool:
        """Writes what is not there; returns whether it was not.

        An answer that was lost makes the library write again, and its own first write then looks like another's: both
        are the same bytes, or bytes as good.
        """
        try:
            self.bucket.create(name, data, content_type)
        except PreconditionFailed:
            return False
        return True

    def _drop_marker(self, job: Job) -> None:
        self.bucket.delete(_ticket(job).marker)


def _ticket(job: Job) -> Ticket:
    return Ticket(job.submitter, job.image_id)


def _result_name(image_id: str) -> str:
    return f"results/{image_id}.json"
