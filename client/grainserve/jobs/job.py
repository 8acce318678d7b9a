"""The job record: what is known about one image on its way, as JSON in `jobs/{imageId}.json`.

A record is a value: each step of a job's life makes a new record from the old one. `protocol.py` writes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from grainserve.errors import InvalidJob
from grainserve.jobs.trace import trace_id

Kind = TypeVar("Kind")

MAX_ATTEMPTS = 3
MODEL_PATIENCE = timedelta(hours=1)
"""How long a job waits for a model that TorchServe does not have: a restart makes it forget, until somebody registers
it again."""
MODEL_PAUSE = timedelta(seconds=30)
"""Between two attempts at such a job."""
LONGEST_PAUSE = timedelta(minutes=5)
"""No job waits longer before its next attempt: a `notBefore` further off is a slip of a clock, or of a hand."""
LOOK_AGAIN = timedelta(hours=1)
"""The longest time after which a job is looked at again, whatever its record says."""

LONGEST_LEASE = timedelta(hours=1)
"""A lease that says more was written by a clock gone wrong."""


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Lease:
    """Who works on a job, and until when others keep their hands off it.

    Attributes:
        owner: unique to one claim, so that a claimer recognises its own record.
        expires: GCS's time, UTC.
    """

    owner: str
    expires: datetime


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed."""

    code: str
    message: str
    status: int | None = None


@dataclass(frozen=True)
class Job:
    """A job record.

    Attributes:
        image_id: its image.
        submitter: whose job it is; dispatchers serve submitters in turn.
        model: TorchServe model.
        version: TorchServe model version; None for the default one.
        options: options as checked at submit.
        created: GCS's time, UTC, as all times here are.
        state: queued, running, done or failed.
        attempts: attempts begun, the running one included. One that ends in backpressure is taken back.
        not_before: a queued job waits until then.
        lease: set while running.
        error: why the last attempt failed.
        modelless_since: when TorchServe was first found without the model, unless it has been there since.
        traceparent: whose trace it belongs to, as W3C writes it; jobs of before 2026-11-22 have none.
    """

    image_id: str
    submitter: str
    model: str
    version: str | None
    options: dict[str, Any]
    created: datetime
    state: State = State.QUEUED
    attempts: int = 0
    not_before: datetime | None = None
    lease: Lease | None = None
    error: Failure | None = None
    modelless_since: datetime | None = None
    traceparent: str | None = None

    @property
    def about(self) -> str:
        """How logs name it."""
        return f"image {self.image_id}" + (f" (trace {trace_id(self.traceparent)})" if self.traceparent else "")

    @property
    def ended(self) -> bool:
        """Whether it is done or failed, which it then stays."""
        return self.state in (State.DONE, State.FAILED)

    def stage(self, now: datetime) -> str:
        """The job's place in the bucket, for people.

        Its state; but a queued job that waits for its next attempt is `delayed`, and a running one whose lease ran out
        `abandoned`.
        """
        waits = self.claimable_in(now) > 0
        if self.state is State.RUNNING and not waits:
            return "abandoned"
        return "delayed" if self.state is State.QUEUED and waits else self.state.value

    def held_until(self, latest: datetime) -> Job:
        """The lease ends then at the latest."""
        if self.lease is None or self.lease.expires <= latest:
            return self
        return replace(self, lease=replace(self.lease, expires=latest))

    def claimable_in(self, now: datetime) -> float:
        """Seconds until a job that has not ended may be claimed, or is worth another look; 0 or less: now."""
        if self.state is State.RUNNING and self.lease:
            return min(self.lease.expires - now, LOOK_AGAIN).total_seconds()
        if self.not_before is None or self.not_before - now > LONGEST_PAUSE:
            return 0.0
        return (self.not_before - now).total_seconds()

    def claimed(self, lease: Lease) -> Job:
        """An attempt begins. It counts from here, so that an image that kills its dispatcher is not tried forever."""
        return replace(self, state=State.RUNNING, attempts=self.attempts + 1, lease=lease, not_before=None)

    def renewed(self, expires: datetime) -> Job:
        """The lease runs on."""
        assert self.lease is not None
        return replace(self, lease=replace(self.lease, expires=expires))

    def released(self) -> Job:
        """Backpressure or a dispatcher that stops: back in the queue, the attempt taken back."""
        return replace(self, state=State.QUEUED, attempts=max(0, self.attempts - 1), lease=None)

    def attempt_failed(self, error: Failure, now: datetime) -> Job:
        """Back in the queue to be tried later, or failed when that was the last attempt."""
        if self.attempts >= MAX_ATTEMPTS:
            return self.failed(error)
        later = now + timedelta(seconds=2.0 ** (self.attempts - 1))
        return replace(self, state=State.QUEUED, lease=None, not_before=later, error=error, modelless_since=None)

    def postponed(self, error: Failure, now: datetime) -> Job:
        """TorchServe lacks its model: back in the queue, the attempt taken back; failed when that has lasted."""
        since = self.modelless_since or now
        if now - since >= MODEL_PATIENCE:
            return self.failed(error)
        return replace(self.released(), not_before=now + MODEL_PAUSE, error=error, modelless_since=since)

    def failed(self, error: Failure) -> Job:
        """The job ends without a result."""
        return replace(self, state=State.FAILED, lease=None, not_before=None, error=error)

    def done(self) -> Job:
        """The job ends with a result."""
        return replace(self, state=State.DONE, lease=None, not_before=None, error=None, modelless_since=None)

    def to_json(self) -> bytes:
        """The record as stored."""
        record = {
            "imageId": self.image_id,
            "submitter": self.submitter,
            "model": self.model,
            "version": self.version,
            "options": self.options,
            "created": self.created.isoformat(),
            "state": self.state.value,
            "attempts": self.attempts,
            "notBefore": self.not_before.isoformat() if self.not_before else None,
            "lease": {"owner": self.lease.owner, "expires": self.lease.expires.isoformat()} if self.lease else None,
            "error": vars(self.error) if self.error else None,
            "modellessSince": self.modelless_since.isoformat() if self.modelless_since else None,
            "traceparent": self.traceparent,
        }
        return json.dumps(record, allow_nan=False, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """Reads a stored record.

        Raises:
            InvalidJob: it is not a job record.
        """
        try:
            record = json.loads(data)
            lease, error, not_before = record["lease"], record["error"], record["notBefore"]
            modelless_since = record.get("modellessSince")  # records of before 2026-11-21 have none
            return cls(
                image_id=_a(str, record["imageId"]),
                submitter=_a(str, record["submitter"]),
                model=_a(str, record["model"]),
                version=record["version"],
                options=_a(dict, record["options"]),
                created=_time(record["created"]),
                state=State(record["state"]),
                attempts=_a(int, record["attempts"]),
                not_before=_time(not_before) if not_before else None,
                lease=Lease(_a(str, lease["owner"]), _time(lease["expires"])) if lease else None,
                error=Failure(**error) if error else None,
                modelless_since=_time(modelless_since) if modelless_since else None,
                traceparent=record.get("traceparent"),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise InvalidJob(f"a job record cannot be read ({fault!r}): submit the image again") from fault


def _a(kind: type[Kind], value: object) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.100} is no {kind.__name__}")
    return value


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return time
