"""Images submitted by reference: objects of other buckets, checked by their headers and copied within GCS."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grainserve.admission import MAX_MIB, check_header, too_many_bytes
from grainserve.errors import ImageRejected, ObjectNotFound
from grainserve.library.entries import name_of
from grainserve.storage.bucket import Bucket, Found
from grainserve.storage.uris import ObjectUri, Readable

BEGINNING = 64 * 2**10
"""Bytes read at the beginning of an object, and of a TIFF also at its end, where its directory usually lies."""
TIFF = (b"II", b"MM")
CERTAIN = ("image_too_large", "not_an_image")
"""Refusals that the beginning of a file is enough for."""


@dataclass(frozen=True)
class Reference:
    """An image that lies in another bucket.

    Attributes:
        bucket: the other bucket.
        found: the object, of the generation that is to be measured.
    """

    bucket: Bucket
    found: Found

    @property
    def uri(self) -> str:
        """The object's URI."""
        return str(ObjectUri(self.bucket.name, self.found.name))

    @property
    def source(self) -> str:
        """The object's URI with its generation."""
        return f"{self.uri}#{self.found.generation}"

    @property
    def file_name(self) -> str:
        """The last part of the object's name, as a name of the image in a history."""
        return name_of(self.found.name.rpartition("/")[2])

    def key(self, model: str, version: str | None, options: Mapping[str, Any]) -> str:
        """Returns the idempotency key of a submission: the same for the same object, generation, model and options."""
        content = json.dumps([model, version, dict(options)], sort_keys=True).encode()
        return f"{self.source} {hashlib.sha256(content).hexdigest()}"

    def check(self, max_bytes: int = MAX_MIB * 2**20) -> str:
        """Checks the object's size and reads its header; returns its content type.

        As a rule 64 KiB are read, or twice as much of a TIFF. If these do not show an image that is read, such as a
        WebP file, which is read whole, the whole object tells why.

        Args:
            max_bytes: size of the largest object, bytes.

        Raises:
            ImageRejected: 400, 413 or 415, as for an image that is sent.
            ObjectNotFound: the object was deleted or replaced.
        """
        size = self.found.size
        if size > max_bytes:
            raise too_many_bytes(max_bytes)
        if size > 2 * BEGINNING:
            try:
                return check_header(self._sketch())
            except ImageRejected as refused:
                if refused.code in CERTAIN:
                    raise
        return check_header(self._read(0, size) if size else b"")

    def gone(self) -> ObjectNotFound:
        """Returns the error for an object that was deleted or replaced after it was looked up."""
        return ObjectNotFound(f"{self.uri} was deleted or replaced meanwhile: submit it again")

    def _sketch(self) -> bytes:
        """Reads the file's beginning, and of a TIFF the end as well, with zeros between them."""
        size, beginning = self.found.size, self._read(0, BEGINNING)
        if not beginning.startswith(TIFF):
            return beginning
        return beginning + bytes(size - 2 * BEGINNING) + self._read(size - BEGINNING, size)

    def _read(self, start: int, end: int) -> bytes:
        part = self.bucket.read_part(self.found, start, end)
        if part is None:
            raise self.gone()
        return part


class References:
    """Finds images in the buckets that a deployment lists as readable.

    Args:
        readable: buckets and folders that may be read.
        opened: opens a bucket by its name.
    """

    def __init__(self, readable: Readable, opened: Callable[[str], Bucket] = Bucket) -> None:
        self.readable = readable
        self._opened = opened
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()

    def find(self, uri: str) -> Reference:
        """Looks an object up.

        Raises:
            InvalidUri: the text is no URI of one object.
            NotReadable: the object lies in no place that may be read.
            ObjectNotFound: there is no such object.
        """
        wanted, bucket = self._checked(uri)
        found = bucket.find(wanted.name)
        if found is None:
            raise ObjectNotFound(f"there is no object {wanted}")
        return Reference(bucket, found)

    def matching(self, pattern: str) -> list[Reference]:
        """Lists the objects that a pattern matches, in order of their names; a URI without wildcards is one object.

        Raises:
            InvalidUri: the text is no URI of objects.
            NotReadable: the pattern is not of a place that may be read.
            ObjectNotFound: it matches no object.
        """
        wanted, bucket = self._checked(pattern)
        if not wanted.is_pattern:
            return [self.find(pattern)]
        # Filtered here: GCS knows patterns, too, but its emulator does not.
        matching = [Reference(bucket, each) for each in bucket.entries(wanted.prefix) if wanted.matches(each.name)]
        if not matching:
            raise ObjectNotFound(f"{wanted} matches no object")
        return matching

    def _checked(self, uri: str) -> tuple[ObjectUri, Bucket]:
        wanted = ObjectUri.parse(uri)
        self.readable.check(wanted)
        with self._lock:
            if wanted.bucket not in self._buckets:
                self._buckets[wanted.bucket] = self._opened(wanted.bucket)
            return wanted, self._buckets[wanted.bucket]
