"""Zip archives from storage: nothing that is read of one is larger than its file."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile


def check_stored(path: Path) -> None:
    """Checks, before anything is read, that an archive holds its members as they are and each on its own.

    So are checkpoints, seed heads and classifiers written. A compressed one of a megabyte could unpack to gigabytes.

    Raises:
        BadZipFile: It is no archive, or would unpack to more than it holds.
    """
    with ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > path.stat().st_size or any(member.compress_type != ZIP_STORED for member in members):
        raise BadZipFile(f"it is compressed, and would unpack to {size / 2**20:.0f} MiB")
