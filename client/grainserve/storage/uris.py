"""URIs of objects, patterns of them, and which of them a deployment lists as readable."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

from grainserve.config import READABLE
from grainserve.errors import InvalidConfiguration, InvalidUri, NotReadable

SCHEME = "gs://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
LONGEST_NAME = 1024
"""Length of the longest object name, bytes of UTF-8."""
WILDCARDS = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
"""Wildcards of a pattern, as regular expressions."""
WILDCARD = re.compile(r"\*\*|\*|\?")


@dataclass(frozen=True)
class ObjectUri:
    """The URI of an object, or a pattern of such URIs.

    Attributes:
        bucket: name of the bucket.
        name: name of the object. In a pattern `*` and `?` stand for characters other than `/`, and `**` for
            any characters.
    """

    bucket: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a URI.

        Raises:
            InvalidUri: the text is no `gs://BUCKET/NAME`. Folders named `.` or `..` are refused, too: GCS takes them
                literally, and an emulator's file system does not.
        """
        bucket, _, name = text.removeprefix(SCHEME).partition("/")
        try:
            length = len(name.encode())
        except UnicodeEncodeError:
            length = 0
        printable = name.isprintable() and not {".", ".."} & set(name.split("/"))
        if not (text.startswith(SCHEME) and BUCKET.fullmatch(bucket) and 0 < length <= LONGEST_NAME and printable):
            raise InvalidUri(f"{text[:200]!r} is no URI of an object: {SCHEME}BUCKET/NAME")
        if name.endswith("/"):
            raise InvalidUri(f"{text[:200]!r} names a folder: name its objects, such as {text[:200]}*.tif")
        return cls(bucket, name)

    @property
    def prefix(self) -> str:
        """The name up to its first wildcard."""
        return WILDCARD.split(self.name, maxsplit=1)[0]

    @property
    def is_pattern(self) -> bool:
        """True where the name has a wildcard."""
        return self.prefix != self.name

    def matches(self, name: str) -> bool:
        """Tells whether the pattern matches an object's name."""
        literal, wild = WILDCARD.split(self.name), WILDCARD.findall(self.name)
        parts = [re.escape(part) + WILDCARDS.get(after, "") for part, after in zip_longest(literal, wild)]
        return bool(re.fullmatch("".join(parts), name, re.DOTALL))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.name}"


def is_uri(image: object) -> bool:
    """Tells whether an image is given by the URI of an object, not by a path or by its content."""
    return isinstance(image, str) and image.startswith(SCHEME)


@dataclass(frozen=True)
class Readable:
    """Buckets and folders that a deployment lists as readable.

    Attributes:
        places: buckets, each with the folder that is readable, `""` for all of the bucket; folders end with `/`.
    """

    places: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, listed: str | None, own: str = "") -> Self:
        """Reads a list such as `scans,archive/2026`.

        Args:
            listed: buckets and folders with commas between them; None for the list of GRAINSERVE_READABLE.
            own: bucket of jobs, which must not be listed: whoever may submit could read the images of others.

        Raises:
            InvalidConfiguration: an entry is no bucket and no folder, or names the bucket of jobs.
        """
        given = os.environ.get(READABLE, "") if listed is None else listed
        places = []
        for entry in (each.strip() for each in given.split(",")):
            bucket, _, folder = entry.removeprefix(SCHEME).partition("/")
            folder = folder.strip("/")
            if not entry:
                continue
            if not BUCKET.fullmatch(bucket) or WILDCARD.search(folder):
                raise InvalidConfiguration(
                    f"{READABLE} has {entry!r}, which is no bucket and no folder: list them as BUCKET,BUCKET/FOLDER"
                )
            if bucket == own:
                raise InvalidConfiguration(
                    f"{READABLE} names {own!r}, the bucket of jobs: keep images to submit in another bucket, so that "
                    "nobody reads the images of others"
                )
            places.append((bucket, f"{folder}/" if folder else ""))
        return cls(tuple(places))

    def check(self, uri: ObjectUri) -> None:
        """Checks that an object, or every object of a pattern, may be read.

        Raises:
            NotReadable: it lies elsewhere.
        """
        if any(uri.bucket == bucket and uri.prefix.startswith(folder) for bucket, folder in self.places):
            return
        listed = ", ".join(f"{SCHEME}{bucket}/{folder}" for bucket, folder in self.places)
        raise NotReadable(
            f"{uri} lies in no bucket that may be read: "
            + (f"those are {listed}" if listed else f"none is listed; {READABLE} (or --readable) lists them")
        )


NOTHING = Readable()
"""The list of a deployment in which no bucket is readable."""
