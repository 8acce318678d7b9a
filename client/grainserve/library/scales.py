"""The scale of an image as people set it later: `scales/{imageId}.json`, a list of revisions, of which the last counts.

The stored result never changes. Who reads it through `JobStore.result` gets it with the current scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from grainserve.contract import check_image_id
from grainserve.errors import InvalidOption, StorageError
from grainserve.scale.typed import checked_scale, parse_length, parse_scale, scale_text
from grainserve.scale.units import length_text
from grainserve.storage.bucket import Bucket, PreconditionFailed, Stored
from grainserve.storage.retries import Retries

MOST_REVISIONS = 1000
"""Most revisions of one scale, so that an object cannot grow without end."""
SOURCES = ("typed", "line", "copied", "metadata", "bar", "request")
"""Where a scale may be from."""
SHORTEST_LINE = 2.0
"""Shortest line that a scale is measured by, px."""


@dataclass(frozen=True)
class Line:
    """A line on the picture from (x1, y1) to (x2, y2), px from its top left corner."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def length(self) -> float:
        """Length of the line, px."""
        return math.hypot(self.x2 - self.x1, self.y2 - self.y1)

    def said(self, um_per_px: float) -> str:
        """Returns the line's two lengths in words."""
        return f"{self.length:.1f} px = {length_text(self.length * um_per_px)}"


@dataclass(frozen=True)
class Asked:
    """A scale as somebody asks for it: a text, a number, or a line with its length.

    Attributes:
        text: scale as typed.
        um_per_px: side of a pixel, µm; None: no scale.
        has_number: whether `um_per_px` is what is asked for.
        line: line on the picture.
        length: length of the line, with its unit.
        source: kind of source; None tells it from the others.
    """

    text: str | None = None
    um_per_px: float | None = None
    has_number: bool = False
    line: Line | None = None
    length: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Revision:
    """A scale as somebody set it.

    Attributes:
        um_per_px: side of a pixel, µm; None: the image has no scale.
        source: kind of source: typed, line, copied, metadata, bar or request.
        by: name of the key, or of the submitter.
        at: when, GCS's time, UTC.
        text: what was understood, for people: `2.5 µm/px`.
        line: line on the picture that the scale was measured by.
    """

    um_per_px: float | None
    source: str
    by: str
    at: datetime
    text: str
    line: Line | None = None

    @property
    def scale_source(self) -> str | None:
        """The source in words, as a result has it; None without a scale."""
        if self.um_per_px is None:
            return None
        return f"{self.source}, {self.line.said(self.um_per_px)}" if self.line else self.source

    def copied(self) -> Revision:
        """Returns the revision for another image than the one that it was made for."""
        return replace(self, source="copied", line=None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the revision as it is stored and told."""
        said = {
            "umPerPx": self.um_per_px,
            "source": self.source,
            "by": self.by,
            "at": self.at.isoformat(),
            "text": self.text,
        }
        return said | ({"line": vars(self.line)} if self.line else {})

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Revision:
        """Reads a stored revision."""
        um_per_px = None if stored["umPerPx"] is None else float(stored["umPerPx"])
        line = Line(**stored["line"]) if "line" in stored else None
        return cls(
            um_per_px, stored["source"], stored["by"], datetime.fromisoformat(stored["at"]), stored["text"], line
        )


class Scales:
    """The revised scales of a bucket.

    Args:
        bucket: bucket that holds them.
        now: clock that gives the time, UTC.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now

    def revisions(self, image_id: str) -> list[Revision]:
        """Returns the revisions of an image's scale, in order; none where it is as it was submitted.

        Raises:
            InvalidImageId: the id is no image id.
            StorageError: what is stored cannot be read.
        """
        stored = self._bucket.read(scale_name(check_image_id(image_id)))
        return _read(stored, image_id) if stored else []

    def revise(self, image_id: str, make: Callable[[datetime], Revision]) -> list[Revision]:
        """Adds a revision; returns all of them. Of two at once, both are kept, in the order in which they came.

        Args:
            image_id: image id.
            make: makes the revision at a time.

        Raises:
            InvalidOption: the scale was revised too often.
        """
        name, tries = scale_name(check_image_id(image_id)), Retries(f"setting the scale of image {image_id}")
        while True:
            stored = self._bucket.read(name)
            revisions = [*(_read(stored, image_id) if stored else []), make(self._now())]
            if len(revisions) > MOST_REVISIONS:
                raise InvalidOption(f"the scale of image {image_id} was set {MOST_REVISIONS} times: submit it again")
            data = json.dumps([each.to_dict() for each in revisions], allow_nan=False, ensure_ascii=False).encode()
            try:
                self._bucket.replace(name, data, "application/json", stored.generation if stored else 0)
                return revisions
            except PreconditionFailed:
                again = self._bucket.read(name)
            if again and again.data == data:
                return revisions  # our write's answer was lost, and the retry met our own
            tries.again()


def revision(asked: Asked, by: str) -> Callable[[datetime], Revision]:
    """Returns what makes the revision that somebody asks for, at a time.

    Args:
        asked: scale as it is asked for.
        by: who asks.

    Raises:
        InvalidOption: the scale cannot be read, is no scale, or is asked for in several ways or none.
    """
    if [asked.text is not None, asked.has_number, asked.line is not None].count(True) != 1:
        raise InvalidOption("give the scale as one of text, umPerPx, or line with length")
    if (asked.line is None) != (asked.length is None):
        raise InvalidOption("a line needs its length, and a length its line: give both")
    if asked.source is not None and asked.source not in SOURCES:
        raise InvalidOption(f"source is {asked.source[:60]!r}; it is one of {', '.join(SOURCES)}")
    um_per_px, kind = asked.um_per_px, "typed"
    if asked.text is not None:
        um_per_px = parse_scale(asked.text)
    elif asked.line is not None and asked.length is not None:
        if asked.line.length < SHORTEST_LINE:
            raise InvalidOption(f"the line is {asked.line.length:.3g} px long: draw one over {SHORTEST_LINE} px")
        um_per_px, kind = checked_scale(parse_length(asked.length) / asked.line.length), "line"
    elif um_per_px is not None:
        um_per_px = checked_scale(float(um_per_px))
    source = "none" if um_per_px is None else asked.source or kind
    return lambda at: Revision(um_per_px, source, by, at, scale_text(um_per_px), asked.line)


def current_scale(
    options: Mapping[str, Any], by: str, created: datetime, revisions: Sequence[Revision]
) -> dict[str, Any]:
    """Returns an image's scale as it is told: the last revision, or what the job was submitted with.

    Args:
        options: options of the job.
        by: submitter of the job.
        created: when the job was submitted.
        revisions: revisions of the scale, in order.
    """
    um_per_px = options.get("um_per_px")
    first = Revision(um_per_px, _kind(um_per_px, options.get("scale_source")), by, created, scale_text(um_per_px))
    return (revisions[-1] if revisions else first).to_dict() | {"revisions": [each.to_dict() for each in revisions]}


def _kind(um_per_px: float | None, source: str | None) -> str:
    if um_per_px is None:
        return "none"
    if source is None:
        return "request"
    return "bar" if source.startswith("scale bar") else "metadata"


def scale_name(image_id: str) -> str:
    """Returns the name of the object with an image's scale."""
    return f"scales/{image_id}.json"


def _read(stored: Stored, image_id: str) -> list[Revision]:
    try:
        return [Revision.from_dict(each) for each in json.loads(stored.data)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(f"the scale stored for image {image_id!r} cannot be read: {error!r:.200}") from error
