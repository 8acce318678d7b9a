"""Changes by hand in a bucket: records copied and damaged, markers moved."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions as api
from google.cloud import storage

from grainserve.jobs.job import Job
from tests.faults.audit import listed

PATIENCE = 20.0
"""Seconds to wait for the first objects."""
RESTORED = "restored"
"""Submitter of the jobs that a hand puts into the bucket."""
FAR_OFF = "9999-12-31T23:59:59-12:00"
DAMAGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a notBefore centuries away": lambda record: record | {"notBefore": FAR_OFF},
    "a lease centuries away": lambda record: (
        record | {"state": "running", "attempts": 1, "lease": {"owner": "nobody", "expires": FAR_OFF}}
    ),
    "no time zone": lambda record: record | {"created": "2026-11-24T12:00:00"},
    "cut short": lambda record: record,
}
"""Kinds of damage to a record. A job with the first kind can be done at once, one with the second in an hour."""


@dataclass
class Hands:
    """Changes a bucket by hand, past the proxy.

    Attributes:
        bucket: bucket to change.
        chance: source of random decisions.
        injected: number of changes, by kind.
        restored: ids of jobs that were put into the bucket and can be done.
        planted: names and bytes of meaningless objects, which must stay unchanged.
    """

    bucket: storage.Bucket
    chance: random.Random
    injected: Counter[str]
    restored: set[str] = field(default_factory=set)
    planted: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> None:
        """Copies a record under another id, mostly with a marker, as `gsutil cp` and a restore do."""
        image_id, records = self._new_id(), self._first_objects("jobs/")
        with suppress(api.NotFound, IndexError):  # deleted meanwhile, or missing
            self._plant(f"jobs/{image_id}.json", self.chance.choice(records).download_as_bytes())
            if self.chance.random() < 0.7:
                self._plant(f"pending/{RESTORED}/{image_id}", b"")

    def damage(self) -> None:
        """Writes a record as a hand or a wrong clock would, with its image and its marker."""
        image_id, kind = self._new_id(), self.chance.choice(list(DAMAGES))
        self.injected[f"damage a record: {kind}"] += 1
        whole = Job(image_id, RESTORED, "sam_tiny", None, {}, datetime.now(UTC)).to_json()
        data = json.dumps(DAMAGES[kind](json.loads(whole))).encode()
        self._put(f"images/{image_id}", b"image")
        if kind == "a notBefore centuries away":
            self.restored.add(image_id)
            self._put(f"jobs/{image_id}.json", data)
            self._put(f"pending/{RESTORED}/{image_id}", b"")
        else:
            self._plant(f"jobs/{image_id}.json", data[: len(data) // 2] if kind == "cut short" else data)
            self._plant(f"pending/{RESTORED}/{image_id}", b"")

    def move_marker(self) -> None:
        """Takes an unfinished job's marker away, or puts one where none belongs."""
        jobs = [_image_id(blob) for blob in self._first_objects("jobs/") if blob.name not in self.planted]
        markers = [blob for blob in listed(self.bucket, "pending/") if blob.name not in self.planted]
        kind = self.chance.choice(["take away", "foreign", "of no job"])
        self.injected[f"move a marker: {kind}"] += 1
        if kind == "take away" and markers:
            with suppress(api.NotFound):  # its job has ended meanwhile
                self.chance.choice(markers).delete()
        elif kind == "foreign" and jobs:
            self._put(f"pending/foreign/{self.chance.choice(jobs)}", b"")
        else:
            self._put(f"pending/foreign/{self._new_id()}", b"")

    def _first_objects(self, prefix: str) -> list[storage.Blob]:
        """Returns the objects as soon as there are some; at the start there are none."""
        began = time.monotonic()
        while not (found := listed(self.bucket, prefix)) and time.monotonic() < began + PATIENCE:
            time.sleep(0.05)
        return found

    def _new_id(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    def _put(self, name: str, data: bytes) -> None:
        self.bucket.blob(name).upload_from_string(data)

    def _plant(self, name: str, data: bytes) -> None:
        self.planted[name] = data
        self._put(name, data)


def _image_id(record: storage.Blob) -> str:
    return str(record.name.removeprefix("jobs/").removesuffix(".json"))
