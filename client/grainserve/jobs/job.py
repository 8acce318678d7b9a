"""The job record: what is known about an image's job, as JSON in `jobs/{imageId}.json`.

A record is a value: each step of a job's life makes a new record from the old one. `store.py` writes the records.
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
"""Longest wait of a job for a model that TorchServe does not have. A restarted TorchServe lacks it until somebody
registers it again."""
MODEL_PAUSE = timedelta(seconds=30)
"""Pause between two attempts at a job whose model TorchServe lacks."""
LONGEST_PAUSE = timedelta(minutes=5)
"""Longest pause before a job's next attempt. A `notBefore` further off is a mistake of a clock, or of a hand, and is
ignored."""
LOOK_AGAIN = timedelta(hours=1)
"""Longest time until a job is looked at again, whatever its record says."""

LONGEST_LEASE = timedelta(hours=1)
"""Longest lease that counts: only a clock gone wrong writes a longer one."""


LARGEST_GRAIN = "largest_grain"
"""Option that says that the image is measured in tiles: the largest extent of a grain expected, px, or AUTO. It is the
job's own; TorchServe does not know it."""
AUTO = "auto"
"""Value of LARGEST_GRAIN: the extent is estimated from a first look at the image scaled down."""


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Lease:
    """A claim on a job: who works on it, and until when others leave it alone.

    Attributes:
        owner: name unique to one claim, so that a claimer recognises its own record.
        expires: end of the lease, GCS's time, UTC.
    """

    owner: str
    expires: datetime


@dataclass(frozen=True)
class Failure:
    """The reason why an attempt failed.

    Attributes:
        code: error code.
        message: text for people.
        status: HTTP status, where there was one.
    """

    code: str
    message: str
    status: int | None = None


@dataclass(frozen=True)
class Tiles:
    """What is known of a large image once its tiles are laid.

    Attributes:
        largest_grain: largest extent of a grain, px, for which they are laid.
        count: number of tiles.
        image: `metadata.image` of the result.
        warnings: warnings about the whole image.
    """

    largest_grain: int
    count: int
    image: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A job record.

    Attributes:
        image_id: image id.
        submitter: name of the submitter; dispatchers serve submitters in turn.
        model: TorchServe model.
        version: TorchServe model version; None for the default one.
        options: options as checked at submission.
        created: when the job was submitted, GCS's time, UTC, as all times here.
        state: queued, running, done or failed.
        attempts: number of attempts begun, the running one included. An attempt that ends in backpressure does not
            count.
        not_before: a queued job waits until then.
        lease: current lease; set while the job is running.
        error: why the last attempt failed.
        modelless_since: when TorchServe was first found without the model; None if it has had the model since.
        traceparent: W3C trace that the job belongs to; jobs from before 2026-11-22 have none.
        source: URI and generation of the object that the image was copied from, `gs://BUCKET/NAME#GENERATION`; None
            for an image that was sent.
        parent: image id of the large image that this job measures a part of; None for an image of its own.
        tiles: tiles of a large image; None until they are laid.
        name: name of the image in the history of its submitter, as it was submitted; empty where it has none; None:
            the job, such as one of a tile, is not in the history.
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
    source: str | None = None
    parent: str | None = None
    tiles: Tiles | None = None
    name: str | None = None

    @property
    def is_large(self) -> bool:
        """True where the image is measured in tiles, each of them a job of its own."""
        return LARGEST_GRAIN in self.options

    @property
    def about(self) -> str:
        """The job's name in logs."""
        return f"image {self.image_id}" + (f" (trace {trace_id(self.traceparent)})" if self.traceparent else "")

    @property
    def ended(self) -> bool:
        """True where the job is done or failed; it then stays so."""
        return self.state in (State.DONE, State.FAILED)

    @property
    def told(self) -> State:
        """The state as callers are told: a large image is running while its tiles are."""
        return State.RUNNING if self.tiles and not self.ended else self.state

    def stage(self, now: datetime) -> str:
        """Returns the job's stage, for people to read.

        The stage is the state, with two exceptions. A queued job that waits for its next attempt is `delayed`. A
        running job whose lease ran out is `abandoned`.

        Args:
            now: GCS's time, UTC.
        """
        waits = self.claimable_in(now) > 0
        if self.state is State.RUNNING and not waits:
            return "abandoned"
        return "delayed" if self.state is State.QUEUED and waits else self.state.value

    def held_until(self, latest: datetime) -> Job:
        """Returns the job with a lease that ends by `latest`."""
        if self.lease is None or self.lease.expires <= latest:
            return self
        return replace(self, lease=replace(self.lease, expires=latest))

    def claimable_in(self, now: datetime) -> float:
        """Returns the seconds until an unended job may be claimed, or is worth another look; 0 or less means now."""
        if self.state is State.RUNNING and self.lease:
            return min(self.lease.expires - now, LOOK_AGAIN).total_seconds()
        if self.not_before is None or self.not_before - now > LONGEST_PAUSE:
            return 0.0
        return (self.not_before - now).total_seconds()

    def claimed(self, lease: Lease) -> Job:
        """Returns the job with an attempt begun under this lease.

        The attempt counts from here, so that an image that kills its dispatcher is not tried forever.
        """
        return replace(self, state=State.RUNNING, attempts=self.attempts + 1, lease=lease, not_before=None)

    def renewed(self, expires: datetime) -> Job:
        """Returns the job with a lease that runs until `expires`."""
        assert self.lease is not None
        return replace(self, lease=replace(self.lease, expires=expires))

    def released(self) -> Job:
        """Returns the job put back into the queue, without counting its attempt.

        This happens after backpressure, and when a dispatcher stops.
        """
        return replace(self, state=State.QUEUED, attempts=max(0, self.attempts - 1), lease=None)

    def waiting(self, tiles: Tiles | None, until: datetime) -> Job:
        """Returns the job put back until its tiles are worth another look, without counting the attempt."""
        return replace(self.released(), tiles=tiles, not_before=until)

    def attempt_failed(self, error: Failure, now: datetime) -> Job:
        """Returns the job put back into the queue for a later attempt, or failed if this was its last one.

        Args:
            error: why the attempt failed.
            now: GCS's time, UTC.
        """
        if self.attempts >= MAX_ATTEMPTS:
            return self.failed(error)
        later = now + timedelta(seconds=2.0 ** (self.attempts - 1))
        return replace(self, state=State.QUEUED, lease=None, not_before=later, error=error, modelless_since=None)

    def postponed(self, error: Failure, now: datetime) -> Job:
        """Returns the job put back into the queue because TorchServe lacks its model.

        The attempt does not count. When the model has been missing for `MODEL_PATIENCE`, the job is failed instead.

        Args:
            error: why the attempt failed.
            now: GCS's time, UTC.
        """
        since = self.modelless_since or now
        if now - since >= MODEL_PATIENCE:
            return self.failed(error)
        return replace(self.released(), not_before=now + MODEL_PAUSE, error=error, modelless_since=since)

    def failed(self, error: Failure) -> Job:
        """Returns the job ended without a result."""
        return replace(self, state=State.FAILED, lease=None, not_before=None, error=error)

    def done(self) -> Job:
        """Returns the job ended with a result."""
        return replace(self, state=State.DONE, lease=None, not_before=None, error=None, modelless_since=None)

    def to_json(self) -> bytes:
        """Returns the record as it is stored."""
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
            "source": self.source,
            "parent": self.parent,
            "tiles": _tiles_as_json(self.tiles) if self.tiles else None,
            "name": self.name,
        }
        return json.dumps(record, allow_nan=False, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """Reads a stored record.

        Raises:
            InvalidJob: the bytes are no job record.
        """
        try:
            record = json.loads(data)
            lease, error, not_before = record["lease"], record["error"], record["notBefore"]
            modelless_since = record.get("modellessSince")  # records from before 2026-11-21 have none
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
                source=record.get("source"),  # records from before 2026-12 have none
                name=record.get("name", ""),  # those from before 2026-12-02 have none, and are in the history
                parent=record.get("parent"),
                tiles=_tiles(record["tiles"]) if record.get("tiles") else None,
            )
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise InvalidJob(f"a job record cannot be read ({fault!r}): submit the image again") from fault


def _a(kind: type[Kind], value: object) -> Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.100} is no {kind.__name__}")
    return value


def _tiles_as_json(tiles: Tiles) -> dict[str, Any]:
    return {
        "largestGrain": tiles.largest_grain,
        "count": tiles.count,
        "image": tiles.image,
        "warnings": list(tiles.warnings),
    }


def _tiles(record: Any) -> Tiles:
    image, warnings = _a(dict, record["image"]), tuple(map(str, record["warnings"]))
    return Tiles(_a(int, record["largestGrain"]), _a(int, record["count"]), image, warnings)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return time
