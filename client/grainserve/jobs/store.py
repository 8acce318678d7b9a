"""The job protocol over a bucket: submit, claim, renew, finish, poll.

| object | content | written |
|---|---|---|
| `images/{imageId}` | the bytes as submitted, or a copy of the object submitted by reference | once |
| `jobs/{imageId}.json` | the job record | compare-and-swap on its generation |
| `library/{submitter}/{stamp}-{imageId}` | entry in the submitter's history, with name and tags | compare-and-swap |
| `pending/{submitter}/{imageId}` | empty marker of an unfinished job | last; deleted when the job has ended |
| `results/{imageId}.json` | the result | once |
| `keys/{digest}.json` | the image id given for a submitter's idempotency key | once, before the others |

The record is the truth: a job is done when its record says so, and a job that has ended stays as it ended. The holder
of the lease does the work. Nothing breaks when two dispatchers believe that they hold it: the result is written once,
and each change of a record names the generation that it was made from.

Each deletion names a generation, too. An image that is deleted and then submitted again under its key has the same id
again. A deletion takes what was there before the record said that it may go, never what came later.

All times are GCS's (`storage/clock.py`), so that no machine's clock matters.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from grainserve.admission import MAX_MIB
from grainserve.bounded_json import parse
from grainserve.contract import SUBMITTER, check_image_id
from grainserve.errors import (
    IdempotencyConflict,
    ImageNotFound,
    InvalidConfiguration,
    InvalidResult,
    JobFailed,
    ResultNotFound,
)
from grainserve.jobs import parts, trace
from grainserve.jobs.job import LONGEST_LEASE, MAX_ATTEMPTS, Failure, Job, Lease, State, Tiles
from grainserve.jobs.markers import Markers, Ticket
from grainserve.jobs.parts import Part
from grainserve.jobs.pubsub import NotificationError, Notifications
from grainserve.jobs.records import JSON, LeaseLost, Records, read_or_confirm, record_name
from grainserve.jobs.references import Reference
from grainserve.library.entries import Entries, Entry, checked_name
from grainserve.library.rescaled import rescaled
from grainserve.library.scales import Scales, scale_name
from grainserve.storage.bucket import Bucket, Found, Opened, PreconditionFailed
from grainserve.storage.retries import Retries

log = logging.getLogger(__name__)

CANCELLED = Failure("cancelled", "the job was cancelled before it was done: submit the image again to have it measured")


SUMMARY = ("grains", "width", "height")
"""What the metadata of a result's object say, so that a history need not read the results."""

DELETED = Failure("deleted", "the job is being deleted: delete it again if it is still here")


@dataclass(frozen=True)
class Claim:
    """A job to be changed.

    Attributes:
        job: record of the job.
        generation: generation of the record.
        ticket: ticket of its marker; None for the record's own submitter and image id.
    """

    job: Job
    generation: int
    ticket: Ticket | None = None


@dataclass(frozen=True)
class Later:
    """A job that cannot be claimed yet.

    Attributes:
        seconds: seconds to wait before another look.
    """

    seconds: float


def check_submitter(submitter: str) -> str:
    """Returns a submitter's name unchanged.

    Raises:
        InvalidConfiguration: the name is not 1 to 63 lower-case letters, digits, `-` or `_`, beginning with a letter or
            a digit. Names become folders.
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
        bucket: bucket that holds them.
        lease: how long a claim holds without renewal, `LONGEST_LEASE` at most.
        now: clock that gives the time, UTC; None for GCS's.
        notifications: Pub/Sub topic that announces jobs, where looks at `pending/` are not enough; None for none.

    Raises:
        InvalidConfiguration: the lease is longer than other dispatchers honour.
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
        self.pending = Markers(bucket)
        self.lease = lease
        self.now = now or bucket.clock.now
        self.entries = Entries(bucket)
        self.scales = Scales(bucket, self.now)
        self._records = Records(bucket, self.now)
        self.notifications = notifications

    # For those who want results -------------------------------------------------------------------------------------

    def submit(
        self,
        image: bytes | Reference,
        *,
        model: str,
        version: str | None,
        options: dict[str, Any],
        submitter: str,
        content_type: str = "application/octet-stream",
        key: str | None = None,
        traceparent: str | None = None,
        name: str | None = None,
        on_id: Callable[[str], None] | None = None,
        part: Part | None = None,
    ) -> str:
        """Stores image, job, entry and marker, in this order, and returns the image id.

        A crash in between leaves an image, or an image and a job, that nothing points to. It never leaves an entry or
        a marker whose image or job is missing. The sweep makes the entry and the marker that are missing.

        Args:
            image: bytes of an image file, or a checked object of another bucket, which is copied within GCS.
            model: TorchServe model.
            version: model version; None for the default one.
            options: checked options.
            submitter: name of the submitter.
            content_type: MIME type of the image.
            key: the submitter's own name for this submission. Submitting the image again under the same key returns the
                same id and makes no second job; what a crash had left out is stored then.
            traceparent: W3C trace that the submission belongs to; None makes a new one.
            name: name of the image in the submitter's history, which may be empty; None: it is not in the history.
            on_id: called with the image id before the job is stored, so that an interrupted caller can cancel it; an
                error that it raises ends the submission.
            part: part of a large image that the image is, with an id that follows from it: submitted again, it makes no
                second job; None for an image of its own.

        Raises:
            InvalidConfiguration: the submitter's name is not allowed.
            InvalidOption: the name is not allowed.
            IdempotencyConflict: another image, or other options, were submitted under this key.
            ObjectNotFound: the object was deleted or replaced.
        """
        image_id = part.image_id if part else uuid.uuid4().hex
        check_submitter(submitter)
        name = name if name is None else checked_name(name)
        if key is not None:
            fingerprint = _fingerprint(image, model, version, options)
            image_id = self._id_for_key(submitter, key, image_id, fingerprint)
        if on_id:
            on_id(image_id)
        new = self._store_image(image_id, image, content_type)
        parent = trace.traceparent(traceparent)
        source = image.source if isinstance(image, Reference) else None
        job = Job(
            image_id,
            submitter,
            model,
            version,
            options,
            created=self.now(),
            traceparent=parent,
            source=source,
            name=name,
            parent=part.parent if part else None,
        )
        if self._create(record_name(image_id), job.to_json(), JSON):
            if not new:  # a deletion under way may have taken the image that was there
                self._store_image(image_id, image, content_type)
        elif (key is not None or part) and (job := self.job(image_id)).ended:
            return image_id
        self.note(job)
        self.mark(Ticket(submitter, image_id))
        return image_id

    def submit_reference(
        self,
        image: Reference,
        *,
        model: str,
        version: str | None,
        options: dict[str, Any],
        submitter: str,
        max_bytes: int = MAX_MIB * 2**20,
        key: str | None = None,
        traceparent: str | None = None,
        name: str | None = None,
        on_id: Callable[[str], None] | None = None,
    ) -> str:
        """Submits an object of another bucket, of which only the header is read here.

        The same object, generation, model and options make no second job, and their image is not copied again. A job
        that failed or was cancelled, except where the image itself was refused, is deleted and submitted anew, under
        the same id. With a key of the submitter's own, it stays.

        Args:
            image: object to submit.
            model: TorchServe model.
            version: model version; None for the default one.
            options: checked options.
            submitter: name of the submitter.
            max_bytes: size of the largest object, bytes.
            key: the submitter's own name for this submission; None for one made of object, model and options.
            traceparent: W3C trace that the submission belongs to; None makes a new one.
            name: name of the image in the submitter's history; see `submit`.
            on_id: called with the image id before the job is stored; see `submit`.

        Raises:
            ImageRejected: the object is no image that is read, or it is too large.
            And the errors of `submit`.
        """
        own = key or image.key(model, version, options)
        if there := self._submitted(submitter, own, _fingerprint(image, model, version, options)):
            refused = there.error is not None and 400 <= (there.error.status or 0) < 500
            if key is not None or there.state is not State.FAILED or refused:
                if not there.ended:
                    self.mark(Ticket(submitter, there.image_id))
                return there.image_id
            with suppress(ImageNotFound):
                self.delete(there.image_id)
        return self.submit(
            image,
            model=model,
            version=version,
            options=options,
            submitter=submitter,
            content_type=image.check(max_bytes),
            key=own,
            traceparent=traceparent,
            name=name,
            on_id=on_id,
        )

    def note(self, job: Job) -> bool:
        """Makes the entry of a job in its submitter's history; returns whether it was missing."""
        return job.name is not None and self.entries.add(replace(entry_of(job), name=job.name))

    def mark(self, ticket: Ticket) -> bool:
        """Tells dispatchers of a job, by its marker and by Pub/Sub; returns whether it had no marker."""
        made = self._create(ticket.marker, b"", "application/octet-stream")
        self._announce(ticket)
        return made

    def poll(self, image_id: str) -> dict[str, Any] | None:
        """Returns the result, or None while the job goes on.

        Raises:
            InvalidImageId: the id is no image id.
            ImageNotFound: there is no job under this id.
            JobFailed: the job ended without a result.
            ResultNotFound: the result was deleted.
            InvalidResult: the object stored as the result is not this image's result.
        """
        job = self.job(image_id)
        if job.state is State.FAILED and job.error:
            raise JobFailed(image_id, job.error.code, job.error.message, job.attempts, job.error.status)
        return self.result(image_id) if job.state is State.DONE else None

    def result(self, image_id: str) -> dict[str, Any]:
        """Returns the result of a job that is done, with the image's current scale.

        Everybody who shows or writes a result takes it from here.

        Raises:
            The errors of `stored_result`.
            StorageError: the image's scale cannot be read.
        """
        return rescaled(self.stored_result(image_id), self.scales.revisions(image_id))

    def stored_result(self, image_id: str) -> dict[str, Any]:
        """Returns the result of a job that is done, as it was stored, with the scale of its submission.

        Raises:
            ResultNotFound: there is no result.
            InvalidResult: the object stored as the result is not this image's result.
        """
        stored = self.bucket.read(_result_name(check_image_id(image_id)))
        if stored is None:
            raise ResultNotFound(image_id)
        try:
            result: dict[str, Any] = parse(stored.data)
            found = result["metadata"]["imageId"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InvalidResult(f"what is stored for image {image_id!r} is no result: {error!r:.200}") from error
        if found != image_id:
            raise InvalidResult(f"what is stored for image {image_id!r} is of another, {found!r:.200}")
        return result

    def summary(self, image_id: str) -> dict[str, int]:
        """Returns number of grains, width and height (px) of a result, as a rule without reading it.

        Raises:
            ResultNotFound: there is no result.
            InvalidResult: the object stored as the result is not this image's result.
        """
        found = self.bucket.find(_result_name(check_image_id(image_id)))
        if found is None:
            raise ResultNotFound(image_id)
        said = {name: int(found.metadata[name]) for name in SUMMARY if found.metadata.get(name, "").isdecimal()}
        # Results from before 2026-12-02 say nothing.
        return said if len(said) == len(SUMMARY) else _summary(self.stored_result(image_id))

    def job(self, image_id: str) -> Job:
        """Returns the job record.

        Raises:
            ImageNotFound: there is no record.
        """
        return self._records.read(image_id)[0]

    def image(self, image_id: str) -> bytes:
        """Returns the image's bytes as submitted.

        Raises:
            ImageNotFound: there is no image; storage was asked twice.
        """
        stored = read_or_confirm(self.bucket, f"images/{check_image_id(image_id)}")
        if stored is None:
            raise ImageNotFound(image_id, self.bucket.name)
        return stored.data

    def find_image(self, image_id: str) -> Found | None:
        """Looks the image up, without reading it; returns None where there is none."""
        return self.bucket.find(f"images/{check_image_id(image_id)}")

    def open_image(self, image_id: str) -> Opened:
        """Opens the image as submitted, to be read in parts.

        Raises:
            ImageNotFound: there is no image.
        """
        opened = self.bucket.open(f"images/{check_image_id(image_id)}")
        if opened is None:
            raise ImageNotFound(image_id, self.bucket.name)
        return opened

    def delete(self, image_id: str) -> None:
        """Deletes image, job, result, entry and scale.

        A dispatcher that works on the job finds its record gone and drops the result.

        The record first says that the job failed, as `deleted`, so that nobody ends the job in another way. The record
        goes last, so that an interrupted deletion can be asked for again.

        Raises:
            ImageNotFound: there is no job under this id.
            InvalidJob: the job's record cannot be read.
        """
        tries = Retries(f"deleting the job of image {image_id}")
        while True:
            job, generation = self._records.read(image_id)
            names = (
                Ticket(job.submitter, image_id).marker,
                f"images/{image_id}",
                _result_name(image_id),
                entry_of(job).object_name,
                scale_name(image_id),
            )
            there = [found for name in names if (found := self.bucket.find(name))]
            try:
                generation = self._records.swap(job.failed(DELETED), generation)
            except LeaseLost:
                tries.again()
                continue
            for found in there:
                self.bucket.delete(found.name, found.generation)
            if job.is_large:
                parts.delete_all(self, image_id)
            self.bucket.delete(record_name(image_id), generation)
            # One that was set meanwhile would be that of the next image under this id.
            if scale := self.bucket.find(scale_name(image_id)):
                self.bucket.delete(scale.name, scale.generation)
            return

    def cancel(self, image_id: str) -> bool:
        """Fails a job that has not ended, as `cancelled`, whoever works on it; returns whether it did.

        A dispatcher that works on the job finds its lease gone and drops its result. If the result is already there,
        the job is done instead.

        Raises:
            InvalidImageId: the id is no image id.
            ImageNotFound: there is no job under this id.
            InvalidJob: the job's record cannot be read.
        """
        tries = Retries(f"cancelling the job of image {image_id}")
        while True:
            claim = Claim(*self._records.read(image_id))
            if claim.job.ended:
                return False
            try:
                cancelled = self._change(claim, claim.job.failed(CANCELLED)).state is State.FAILED
            except LeaseLost:
                tries.again()  # its record says what comes next
                continue
            if claim.job.is_large:
                parts.cancel_all(self, image_id)
            return cancelled

    # For dispatchers ------------------------------------------------------------------------------------------------

    def claim(self, ticket: Ticket, owner: str) -> Claim | Later | None:
        """Tries to claim a job.

        Args:
            ticket: ticket of the job.
            owner: name of the dispatcher; the lease adds an id of its own for each claim.

        Returns:
            The claim; or `Later` while the job cannot be claimed; or None when the job has ended (its marker is then
                gone, too).
        """
        tries = Retries(f"claiming the job of image {ticket.image_id}")
        while True:
            claim = self.unended(ticket)
            if claim is None:
                return None
            now = self.now()
            if (wait := claim.job.claimable_in(now)) > 0:
                return Later(wait)
            try:
                attempts = claim.job.attempts
                if attempts and self._find_result(claim.job):
                    self._end(claim)  # the writer of the result died before it ended the job
                    return None
                if attempts >= MAX_ATTEMPTS:  # the last attempt took its dispatcher with it
                    reason = Failure("attempts_exhausted", f"{attempts} attempts began and none came to an end")
                    self._change(claim, claim.job.failed(claim.job.error or reason))
                    return None
                claimed = claim.job.claimed(Lease(f"{owner}/{uuid.uuid4().hex}", now + self.lease))
                return Claim(claimed, self._records.swap(claimed, claim.generation), ticket)
            except LeaseLost:
                tries.again()  # another dispatcher was first: its record says what comes next

    def unended(self, ticket: Ticket) -> Claim | None:
        """Returns the record of a job that has not ended; else drops the ticket's marker and returns None.

        Raises:
            InvalidJob: the record cannot be read.
        """
        while True:
            try:
                job, generation = self._records.read(ticket.image_id)
            except ImageNotFound:
                pass  # somebody deleted the job
            else:
                if not job.ended:
                    return Claim(job, generation, ticket)
            if ticket.generation is not None:
                self._drop_marker(ticket)  # whoever ended the job died before this, or knew of another marker
                return None
            ticket = self._seen(ticket)
            if ticket.generation is None:
                return None  # there is no marker

    def give_up(self, ticket: Ticket, reason: Failure) -> None:
        """Fails a job that nobody works on; a job that has ended, or cannot be claimed yet, stays as it is.

        Args:
            ticket: ticket of the job.
            reason: error of the job, if its record has none yet.
        """
        try:
            claim = Claim(*self._records.read(ticket.image_id), ticket)
        except ImageNotFound:
            return
        if claim.job.ended or claim.job.claimable_in(self.now()) > 0:
            return
        with suppress(LeaseLost):  # somebody works on it after all
            self._change(claim, claim.job.failed(claim.job.error or reason))

    def renew(self, claim: Claim) -> Claim:
        """Extends the lease; returns the claim with its new record.

        Raises:
            LeaseLost: another writer changed the record.
        """
        job = claim.job.renewed(self.now() + self.lease)
        return replace(claim, job=job, generation=self._records.swap(job, claim.generation, claim.job.lease))

    def finish(self, claim: Claim, result: dict[str, Any]) -> None:
        """Stores the result, once, then ends the job.

        A result that is there already stays and is no error. If the job has failed or was deleted meanwhile, its result
        is dropped: what has ended stays as it ended.
        """
        name = _result_name(claim.job.image_id)
        data = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        tries = Retries(f"ending the job of image {claim.job.image_id}")
        while True:
            stored = self._keep_result(claim.job, data, _summary(result))
            try:
                return self._end(claim)
            except LeaseLost:
                pass
            try:
                job, generation = self._records.read(claim.job.image_id)  # after a renewal, a takeover, another's end
            except ImageNotFound:
                return self.bucket.delete(name, stored)
            if job.state is State.FAILED:
                return self.bucket.delete(name, stored)
            claim = replace(claim, job=job, generation=generation)
            if job.ended:
                return self._drop_marker(_ticket(claim))
            tries.again()

    def attempt_failed(self, claim: Claim, error: Failure) -> Job:
        """Notes a failed attempt; the third one fails the job. Returns the current record."""
        return self._change_unless_lost(claim, claim.job.attempt_failed(error, self.now()))

    def postpone(self, claim: Claim, error: Failure) -> Job:
        """Puts back a job whose model TorchServe lacks; fails it in the end. Returns the current record."""
        return self._change_unless_lost(claim, claim.job.postponed(error, self.now()))

    def reject(self, claim: Claim, error: Failure) -> Job:
        """Fails the job at once. Returns the current record."""
        return self._change_unless_lost(claim, claim.job.failed(error))

    def release(self, claim: Claim) -> Job:
        """Puts the job back without counting the attempt. Returns the current record."""
        return self._change_unless_lost(claim, claim.job.released())

    def put_back(self, claim: Claim, tiles: Tiles | None, seconds: float) -> Job:
        """Puts a large image's job back until its tiles are worth another look; returns the current record.

        Args:
            claim: claim on the job.
            tiles: tiles of the image, once they are laid.
            seconds: time until then, s.
        """
        until = self.now() + timedelta(seconds=seconds)
        return self._change_unless_lost(claim, claim.job.waiting(tiles, until))

    # Inside ---------------------------------------------------------------------------------------------------------

    def _announce(self, ticket: Ticket) -> None:
        try:
            if self.notifications:
                self.notifications.announce(ticket)
        except NotificationError as error:
            log.warning("%s; dispatchers find it when they next look at pending/", error)

    def _id_for_key(self, submitter: str, key: str, image_id: str, fingerprint: str) -> str:
        """Returns the image id stored for a key, and stores this one if there is none."""
        given = {"imageId": image_id, "fingerprint": fingerprint}
        tries = Retries(f"looking up the key {key!r}")
        while not self._create(_key_name(submitter, key), json.dumps(given).encode(), JSON):
            if known := self._known_id(submitter, key, fingerprint):
                return known
            tries.again()  # deleted between the two calls
        return image_id

    def _known_id(self, submitter: str, key: str, fingerprint: str) -> str | None:
        """Returns the image id stored for a key; None where there is none."""
        stored = self.bucket.read(_key_name(submitter, key))
        if stored is None:
            return None
        first: dict[str, str] = json.loads(stored.data)
        if first["fingerprint"] != fingerprint:
            raise IdempotencyConflict(key, first["imageId"])
        return first["imageId"]

    def _submitted(self, submitter: str, key: str, fingerprint: str) -> Job | None:
        """Returns the job submitted under a key; None where there is none."""
        with suppress(ImageNotFound):
            known = self._known_id(submitter, key, fingerprint)
            return self.job(known) if known else None
        return None

    def _store_image(self, image_id: str, image: bytes | Reference, content_type: str) -> bool:
        """Stores an image; returns False if one is there already."""
        name = f"images/{image_id}"
        if not isinstance(image, Reference):
            return self._create(name, image, content_type)
        try:
            copied = self.bucket.copy(image.bucket, image.found, name, content_type)
        except PreconditionFailed:
            return False
        if copied is None:
            raise image.gone()
        return True

    def _end(self, claim: Claim) -> None:
        """Ends a job whose result is stored as done, whoever holds the lease; then drops its marker.

        Raises:
            LeaseLost: the record was changed meanwhile.
        """
        self._change(claim, claim.job.done())

    def _change(self, claim: Claim, job: Job, lease: Lease | None = None) -> Job:
        """Writes a record; if its job has ended, drops the marker. Returns the current record.

        A job whose result is there does not fail: it is done, and the writer of the result died before it ended the
        job.

        Raises:
            LeaseLost: the record was changed meanwhile.
        """
        if not job.ended:
            self._records.swap(job, claim.generation, lease)
            return job
        # Before the record says that the job has ended: a marker that comes after that is not this job's.
        ticket = self._seen(_ticket(claim))
        if job.state is State.FAILED and self._find_result(job):
            job = claim.job.done()
        self._records.swap(job, claim.generation, lease)
        self._drop_marker(ticket)
        return job

    def _change_unless_lost(self, claim: Claim, job: Job) -> Job:
        try:
            return self._change(claim, job, claim.job.lease)
        except LeaseLost:
            return self.job(job.image_id)  # its new owner decides

    def _keep_result(self, job: Job, data: bytes, summary: Mapping[str, int]) -> int:
        """Stores a result unless the job has one; returns the generation of the result that is then stored."""
        metadata = {name: str(number) for name, number in summary.items()}
        name, tries = _result_name(job.image_id), Retries(f"storing the result of image {job.image_id}")
        while True:
            try:
                return self.bucket.create(name, data, JSON, metadata)
            except PreconditionFailed:
                found = self.bucket.find(name)
            try:
                if found:
                    # A result older than the job is an earlier job's under the same id, and may be about to be deleted.
                    own = found.written >= job.created
                    if own:
                        return found.generation
                    return self.bucket.replace(name, data, JSON, found.generation, metadata)
            except PreconditionFailed:
                pass
            tries.again()

    def _find_result(self, job: Job) -> Found | None:
        """Finds the job's stored result; an older object under this id is none."""
        found = self.bucket.find(_result_name(job.image_id))
        return found if found and found.written >= job.created else None

    def _create(self, name: str, data: bytes, content_type: str) -> bool:
        """Creates an object; returns False if one is there already.

        If an answer was lost the library writes again, and its own first write then looks like another's. Both have the
        same bytes, or bytes as good.
        """
        try:
            self.bucket.create(name, data, content_type)
        except PreconditionFailed:
            return False
        return True

    def _seen(self, ticket: Ticket) -> Ticket:
        """Returns the ticket with its marker's generation, where there is a marker."""
        if ticket.generation is not None:
            return ticket
        found = self.bucket.find(ticket.marker)
        return replace(ticket, generation=found.generation) if found else ticket

    def _drop_marker(self, ticket: Ticket) -> None:
        """Deletes the marker that was seen, if any was, and no later one under its name."""
        if ticket.generation is not None:
            self.bucket.delete(ticket.marker, ticket.generation)


def entry_of(job: Job) -> Entry:
    """Returns the entry of a job in its submitter's history, as its record tells it: without name and tags."""
    return Entry(job.submitter, job.image_id, job.created)


def _ticket(claim: Claim) -> Ticket:
    return claim.ticket or Ticket(claim.job.submitter, claim.job.image_id)


def _fingerprint(image: bytes | Reference, model: str, version: str | None, options: dict[str, Any]) -> str:
    """Returns a digest of all that a submission under an idempotency key consists of."""
    content = json.dumps([model, version, options], sort_keys=True).encode()
    data = image.source.encode() if isinstance(image, Reference) else image
    return hashlib.sha256(hashlib.sha256(data).digest() + content).hexdigest()


def _key_name(submitter: str, key: str) -> str:
    return f"keys/{hashlib.sha256(f'{submitter}/{key}'.encode()).hexdigest()}.json"


def _summary(result: Mapping[str, Any]) -> dict[str, int]:
    """Returns what listings say of a result; nothing of what is none."""
    if "segmentedObjects" not in result:
        return {}
    image = result["metadata"]["image"]
    return dict(zip(SUMMARY, (len(result["segmentedObjects"]), image["width"], image["height"]), strict=True))


def _result_name(image_id: str) -> str:
    return f"results/{image_id}.json"
