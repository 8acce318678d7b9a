"""Zip archives from storage: those that would unpack to more than their file's size are refused."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile


def check_stored(path: Path) -> None:
    """Checks, before anything is unpacked, that an archive's members are uncompressed and share no bytes.

    Checkpoints, seed heads and classifiers are written in this way. A compressed archive of a megabyte could unpack to
    gigabytes.

    Args:
        path: file of the archive.

    Raises:
        BadZipFile: the file is no archive, is compressed, or would unpack to more than its size.
    """
    with ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > path.stat().st_size or any(member.compress_type != ZIP_STORED for member in members):
        raise BadZipFile(f"it is compressed, and would unpack to {size / 2**20:.0f} MiB")
