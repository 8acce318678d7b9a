"""ZIP archives that are sent while they are made, with names that every system can unpack."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from grainserve.images import ENDINGS

CHUNK = 256 * 2**10
"""Bytes of a file that are compressed at a time."""

MOST_CHARACTERS = 80
"""Largest length of the name of an image in an archive, in which endings of 20 characters follow."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]')
"""Characters that some system allows in no name of a file, and those that turn the direction of writing."""

_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows takes for devices."""


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zip_parts(files: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """Yields an archive part by part. Each file may be deleted once the next one is asked for.

    Args:
        files: name in the archive, and file, of each.
    """
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        for name, path in files:
            entry = ZipInfo(name, time.localtime()[:6])
            entry.compress_type, entry.file_size = ZIP_DEFLATED, path.stat().st_size
            with path.open("rb") as file, archive.open(entry, "w") as member:
                while chunk := file.read(CHUNK):
                    member.write(chunk)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def unique_stems(names: Sequence[str]) -> list[str]:
    """Returns a name for the files of each image, without the image's ending. All differ, whatever case counts.

    Args:
        names: names of the images.
    """
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = _safe(name)
        told, number = stem, 2
        while told.casefold() in taken:
            told, number = f"{stem}_{number}", number + 1
        found.append(told)
        taken.add(told.casefold())
    return found


def _safe(name: str) -> str:
    stem = name.removesuffix(Path(name).suffix) if name.lower().endswith(ENDINGS) else name
    safe = _FORBIDDEN.sub("_", stem).strip(". ")[:MOST_CHARACTERS].rstrip(". ")
    return f"_{safe}" if not safe or _DEVICES.fullmatch(safe) else safe
