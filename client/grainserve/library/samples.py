"""Samples of a submitter, each an object in the bucket that names its images."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from grainserve.bounded_json import parse
from grainserve.contract import check_image_id
from grainserve.errors import InvalidSample, SampleDamaged, SampleNotFound
from grainserve.storage.bucket import Bucket, PreconditionFailed
from grainserve.storage.retries import Retries

log = logging.getLogger(__name__)

MOST_IMAGES = 1000
"""Largest number of images in a sample."""

MOST_CHARACTERS = 200
"""Largest length of a sample's name."""

_LATEST = 9_999_999_999_999
"""Milliseconds since 1970 that ids count down from, so that listings, in order of names, give the newest first."""

_ID = re.compile(r"\d{13}-[0-9a-f]{12}")
_JSON = "application/json"
_READERS = 8
"""Samples that are read at once for a list."""


@dataclass(frozen=True)
class SampleRecord:
    """A sample as it is stored.

    Attributes:
        sample_id: id of the sample.
        name: name of the sample.
        image_ids: ids of its images, each once, in the order in which they were added. Images may be gone since.
        created: when it was made, UTC.
        changed: when it was last changed, UTC.
    """

    sample_id: str
    name: str
    image_ids: tuple[str, ...]
    created: datetime
    changed: datetime

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the object."""
        return {
            "sampleId": self.sample_id,
            "name": self.name,
            "imageIds": list(self.image_ids),
            "created": self.created.isoformat(),
            "changed": self.changed.isoformat(),
        }

    @classmethod
    def from_json(cls, data: bytes) -> SampleRecord:
        """Reads the content of the object.

        Raises:
            SampleDamaged: the bytes are no sample.
        """
        try:
            read = parse(data)
            return cls(
                str(read["sampleId"]),
                str(read["name"]),
                tuple(map(check_image_id, read["imageIds"])),
                datetime.fromisoformat(read["created"]),
                datetime.fromisoformat(read["changed"]),
            )
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise SampleDamaged(f"what is stored is no sample: {error!r:.200}") from error


class Samples:
    """The samples of a bucket, `samples/{submitter}/{sampleId}.json`. Each change names the generation it replaces.

    Args:
        bucket: bucket that holds them.
        now: clock that gives the time, UTC.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now

    def create(self, submitter: str, name: str, image_ids: Iterable[str]) -> SampleRecord:
        """Stores a new sample.

        Args:
            submitter: owner of the sample.
            name: name of the sample.
            image_ids: ids of its images; one that comes again counts once.

        Raises:
            InvalidSample: the name is empty, too long or holds control characters, or there are too many images.
            InvalidImageId: an id is no image id.
        """
        name, once = check_name(name), _images(image_ids)
        next(self._bucket.names(f"samples/{submitter}/", limit=1), None)  # GCS's clock is known once GCS has answered
        now = self._now()
        sample_id = f"{_LATEST - int(now.timestamp() * 1000):013d}-{secrets.token_hex(6)}"
        made = SampleRecord(sample_id, name, once, now, now)
        where, data = _object(submitter, sample_id), _bytes(made)
        try:
            self._bucket.create(where, data, _JSON)
        except PreconditionFailed:  # the id is random: this is our own write, whose first answer was lost
            if (stored := self._bucket.read(where)) is None or stored.data != data:
                raise
        return made

    def read(self, submitter: str, sample_id: str) -> SampleRecord:
        """Returns a sample.

        Raises:
            SampleNotFound: the submitter has no such sample.
            SampleDamaged: the object is no sample.
        """
        return self._read(submitter, sample_id)[0]

    def change(
        self,
        submitter: str,
        sample_id: str,
        *,
        name: str | None = None,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
    ) -> SampleRecord:
        """Changes a sample as it is now, whoever changed it meanwhile; returns the new one.

        Args:
            submitter: owner of the sample.
            sample_id: id of the sample.
            name: new name; None keeps the name.
            add: ids of images to add; those that are there stay where they are.
            remove: ids of images to take out; those that are not there do not matter.

        Raises:
            SampleNotFound: the submitter has no such sample.
            InvalidSample: the name or the number of images is not allowed.
            SampleDamaged: the object is no sample.
            InvalidImageId: an id is no image id.
            StorageError: others changed the sample first, again and again.
        """
        added, gone = tuple(add), set(remove)
        tries = Retries(f"changing sample {sample_id}")
        while True:
            old, generation = self._read(submitter, sample_id)
            new = replace(
                old,
                name=old.name if name is None else check_name(name),
                image_ids=_images(each for each in (*old.image_ids, *added) if each not in gone),
                changed=self._now(),
            )
            try:
                self._bucket.replace(_object(submitter, sample_id), _bytes(new), _JSON, generation)
            except PreconditionFailed:
                tries.again()
            else:
                return new

    def delete(self, submitter: str, sample_id: str) -> None:
        """Deletes a sample; its images stay.

        Raises:
            SampleNotFound: the submitter has no such sample.
        """
        name, tries = _object(submitter, check_sample_id(sample_id)), Retries(f"deleting the sample {sample_id}")
        found = self._bucket.find(name)
        if found is None:
            raise SampleNotFound(sample_id)
        while found is not None:
            self._bucket.delete(name, found.generation)
            if found := self._bucket.find(name):  # changed meanwhile
                tries.again()

    def listed(self, submitter: str, limit: int, after: str | None = None) -> tuple[list[SampleRecord], str | None]:
        """Lists samples, the newest first. One that is damaged is left out, and the log says so.

        Args:
            submitter: owner of the samples.
            limit: largest number of samples, up to 1000.
            after: cursor of an earlier answer, which the list goes on from; None begins with the newest.

        Returns:
            The samples, and the cursor of the next ones; None where there are no more.

        Raises:
            SampleNotFound: the cursor is none.
        """
        start = _object(submitter, check_sample_id(after)) if after else ""
        names = list(self._bucket.names(f"samples/{submitter}/", start=start, limit=limit + 2))
        if names and names[0] == start:
            del names[0]
        with ThreadPoolExecutor(_READERS) as pool:
            found = [each for each in pool.map(self._sound, names[:limit]) if each]
        last = names[limit - 1].rpartition("/")[2].removesuffix(".json") if len(names) > limit else None
        return found, last

    def _sound(self, name: str) -> SampleRecord | None:
        stored = self._bucket.read(name)
        try:
            return SampleRecord.from_json(stored.data) if stored else None  # deleted since it was listed
        except SampleDamaged as error:
            log.warning("%s: %s", name, error)
            return None

    def _read(self, submitter: str, sample_id: str) -> tuple[SampleRecord, int]:
        stored = self._bucket.read(_object(submitter, check_sample_id(sample_id)))
        if stored is None:
            raise SampleNotFound(sample_id)
        return SampleRecord.from_json(stored.data), stored.generation


def check_sample_id(sample_id: str) -> str:
    """Returns a sample's id unchanged.

    Raises:
        SampleNotFound: it is no id of a sample, so that there is none.
    """
    if not _ID.fullmatch(sample_id):
        raise SampleNotFound(sample_id)
    return sample_id


def check_name(name: str) -> str:
    """Returns the name of a sample without spaces around it.

    Raises:
        InvalidSample: nothing is left, it is too long, or it holds control characters.
    """
    bare = name.strip()
    if not bare or len(bare) > MOST_CHARACTERS or not bare.isprintable():
        raise InvalidSample(f"a sample's name has 1 to {MOST_CHARACTERS} characters, and none to control a terminal")
    return bare


def _images(image_ids: Iterable[str]) -> tuple[str, ...]:
    once = tuple(dict.fromkeys(map(check_image_id, image_ids)))
    if len(once) > MOST_IMAGES:
        raise InvalidSample(f"a sample has up to {MOST_IMAGES} images, not {len(once)}: make several samples")
    return once


def _object(submitter: str, sample_id: str) -> str:
    return f"samples/{submitter}/{sample_id}.json"


def _bytes(sample: SampleRecord) -> bytes:
    return json.dumps(sample.to_dict(), ensure_ascii=False).encode()
