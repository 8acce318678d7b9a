"""The history of a submitter: an entry for each of its images, newest first, with a name and tags.

An entry is the object `library/{submitter}/{stamp}-{imageId}`, with name and tags as its metadata, so that one listing
call brings 1000 entries. The stamp counts backwards from the time at which the job was submitted: names sort newest
first. The job's record holds submitter, image id and time, so it also tells the entry's name.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from grainserve.contract import IMAGE_ID
from grainserve.errors import InvalidOption
from grainserve.storage.bucket import Bucket, Found, PreconditionFailed
from grainserve.storage.retries import Retries

PREFIX = "library/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 9_999_999_999_999
"""Stamp of 1970, ms; later times have lower ones, of 13 digits until 2286."""
LONGEST_NAME, MOST_TAGS, LONGEST_TAG = 200, 20, 50
MOST_BYTES = 2000
"""Most bytes of a name and its tags together: object metadata are for little."""
REFUSED = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of characters that are no part of a name: control characters, halves of pairs, line ends."""


@dataclass(frozen=True)
class Entry:
    """An image in the history of a submitter.

    Attributes:
        submitter: whose image it is.
        image_id: image id.
        created: when its job was submitted, UTC, to a millisecond.
        name: name for people, as a rule that of the file; empty where there is none.
        tags: tags, in the order in which they were given.
        generation: generation of the object, where it is known.
    """

    submitter: str
    image_id: str
    created: datetime
    name: str = ""
    tags: tuple[str, ...] = ()
    generation: int | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """The entry's place in the history, which sorts newest first."""
        return f"{LAST - (self.created - EPOCH) // timedelta(milliseconds=1):013d}-{self.image_id}"

    @property
    def object_name(self) -> str:
        """Name of the entry's object."""
        return f"{PREFIX}{self.submitter}/{self.place}"

    @property
    def metadata(self) -> dict[str, str]:
        """Name and tags as the object's metadata hold them."""
        tags = {"tags": json.dumps(self.tags, ensure_ascii=False)} if self.tags else {}
        return ({"imageName": self.name} if self.name else {}) | tags

    def matches(self, search: str, tag: str | None) -> bool:
        """Tells whether name or tags contain a text, in any case, and whether the entry has a tag."""
        wanted = comparable(search)
        found = not wanted or any(wanted in comparable(text) for text in (self.name, *self.tags))
        return found and (tag is None or comparable(tag) in map(comparable, self.tags))


class Entries:
    """The entries of a bucket.

    Args:
        bucket: bucket that holds them.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def add(self, entry: Entry) -> bool:
        """Adds an entry; returns False where the image has one, which stays as it is."""
        try:
            self._bucket.create(entry.object_name, b"", "text/plain", entry.metadata)
        except PreconditionFailed:
            return False
        return True

    def find(self, entry: Entry) -> Entry:
        """Returns the entry as it is stored; the one given, without a generation, where there is none."""
        found = self._bucket.find(entry.object_name)
        return (_read(found) if found else None) or entry

    def change(self, entry: Entry, name: str | None, tags: Iterable[str] | None) -> Entry:
        """Changes name or tags of an entry, and makes an entry where there is none; None leaves them as they are.

        Raises:
            InvalidOption: the name or a tag is not allowed.
        """
        tries = Retries(f"changing {entry.object_name}")
        while True:
            now = self.find(entry)
            changed = Entry(
                entry.submitter,
                entry.image_id,
                entry.created,
                now.name if name is None else checked_name(name),
                now.tags if tags is None else checked_tags(tags),
            )
            _check_bytes(changed)
            try:
                self._bucket.replace(changed.object_name, b"", "text/plain", now.generation or 0, changed.metadata)
                return changed
            except PreconditionFailed:
                tries.again()

    def listed(self, submitter: str, start: str = "", limit: int | None = None) -> Iterator[Entry]:
        """Yields the entries of a submitter, newest first, 1000 per call.

        Args:
            submitter: whose images.
            start: place to begin at.
            limit: largest number of entries.
        """
        folder = f"{PREFIX}{submitter}/"
        for found in self._bucket.entries(folder, start=folder + start, limit=limit):
            if entry := _read(found):
                yield entry

    def all(self) -> Iterator[Entry]:
        """Yields the entries of all submitters."""
        for found in self._bucket.entries(PREFIX):
            if entry := _read(found):
                yield entry

    def delete(self, entry: Entry) -> None:
        """Deletes an entry of this generation; one without a generation is none."""
        if entry.generation is not None:
            self._bucket.delete(entry.object_name, entry.generation)


def comparable(text: str) -> str:
    """Returns a text as searches compare it: without case, and composed."""
    return unicodedata.normalize("NFC", text).casefold()


def checked_name(name: str) -> str:
    """Returns a name, composed (NFC).

    Raises:
        InvalidOption: the name is longer than 200 characters, or has control characters.
    """
    composed = unicodedata.normalize("NFC", name)
    if len(composed) > LONGEST_NAME or _refused(composed):
        raise InvalidOption(f"a name has up to {LONGEST_NAME} characters and no control characters: {name[:60]!r}")
    return composed


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Returns tags, composed (NFC), without spaces around them, each once.

    Raises:
        InvalidOption: there are more than 20 tags; or one is empty, longer than 50 characters, or has control
            characters.
    """
    composed = tuple(dict.fromkeys(unicodedata.normalize("NFC", tag).strip() for tag in tags))
    if len(composed) > MOST_TAGS:
        raise InvalidOption(f"an image has up to {MOST_TAGS} tags")
    for tag in composed:
        if not 0 < len(tag) <= LONGEST_TAG or _refused(tag):
            raise InvalidOption(f"a tag has 1 to {LONGEST_TAG} characters and no control characters: {tag[:60]!r}")
    return composed


def name_of(file_name: str) -> str:
    """Returns the name of an image by that of its file: it is cut, and characters are replaced, as needed."""
    composed = unicodedata.normalize("NFC", file_name)
    return "".join("\N{REPLACEMENT CHARACTER}" if _refused(each) else each for each in composed)[:LONGEST_NAME]


def _refused(text: str) -> bool:
    return any(unicodedata.category(each) in REFUSED for each in text)


def _check_bytes(entry: Entry) -> None:
    if sum(len(value.encode()) for value in entry.metadata.values()) > MOST_BYTES:
        raise InvalidOption(f"name and tags together have up to {MOST_BYTES} bytes of UTF-8: shorten them")


def _read(found: Found) -> Entry | None:
    """Returns the entry that an object's name and metadata hold; None for an object that is no entry."""
    submitter, _, place = found.name.removeprefix(PREFIX).partition("/")
    stamp, _, image_id = place.partition("-")
    if not (len(stamp) == 13 and stamp.isascii() and stamp.isdigit() and IMAGE_ID.fullmatch(image_id)):
        return None
    created = EPOCH + timedelta(milliseconds=LAST - int(stamp))
    return Entry(
        submitter, image_id, created, found.metadata.get("imageName", ""), _tags(found.metadata), found.generation
    )


def _tags(metadata: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(str(tag) for tag in json.loads(metadata.get("tags", "[]")))
    except (ValueError, TypeError):  # written by hand
        return ()
