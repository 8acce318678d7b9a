"""Model archives: pinned by SHA-256, kept in the bucket, and copied to model stores under a name for each content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.storage.bucket import Bucket, PreconditionFailed

FOLDER = "archives/"
MANIFEST = "MAR-INF/MANIFEST.json"
NAME = re.compile(r".+-.+-[0-9a-f]{12}\.mar")
MOST, MOST_MANIFEST = 64 * 2**20, 2**20
"""Largest size of an archive, packed and unpacked, and of its manifest, bytes. It holds no weights."""


class ArchiveChanged(GrainserveError):
    """The SHA-256 of an archive is not the declared one."""

    code = "archive_changed"


@dataclass(frozen=True)
class Archive:
    """A model archive.

    Attributes:
        model: name of the TorchServe model, from the manifest.
        version: version of the model, from the manifest.
        sha256: SHA-256 of the archive's bytes, hex.
    """

    model: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Name in the bucket and in model stores. Each content has its own, so that no archive overwrites another."""
        return f"{self.model}-{self.version}-{self.sha256[:12]}.mar"


def is_named_here(file: str) -> bool:
    """Tells by the name of a file in a model store whether `fetch` put it there."""
    return bool(NAME.fullmatch(file))


def read(path: Path) -> tuple[Archive, bytes]:
    """Reads an archive and its manifest.

    Args:
        path: file of the archive.

    Returns:
        The archive, and its bytes.

    Raises:
        InvalidConfiguration: the file cannot be read, is no valid model archive, or is too large for one.
    """
    try:
        if path.stat().st_size > MOST:
            raise InvalidConfiguration(f"{path} has over {MOST >> 20} MiB: weights do not belong into an archive")
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            _check_sizes(path, opened.infolist())
            with opened.open(MANIFEST) as manifest:
                # The limit holds whatever size the archive states.
                named = json.loads(manifest.read(MOST_MANIFEST))["model"]
        archive = Archive(str(named["modelName"]), str(named["modelVersion"]), hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidConfiguration(f"{path} is no model archive ({error!r}): `make mar` packs one") from None
    if "/" in archive.file:
        raise InvalidConfiguration(f"{path} names a model or version with a slash")
    return archive, data


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuses an archive that would unpack to more than `MOST`, before anything is unpacked."""
    if (size := sum(member.file_size for member in members)) > MOST:
        raise InvalidConfiguration(
            f"{path} unpacks to {size >> 20} MiB, over {MOST >> 20}: weights do not belong into an archive"
        )
    # Only with these two does Python unpack no more bytes than a read asks for.
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise InvalidConfiguration(f"{path} is compressed as TorchServe does not read it: `make mar` packs one")


def push(archive: Archive, data: bytes, bucket: Bucket) -> None:
    """Stores an archive in the bucket, unless it is there already.

    Args:
        archive: archive to store.
        data: bytes of the archive.
        bucket: bucket to store it in.
    """
    try:
        bucket.create(FOLDER + archive.file, data, "application/zip")
    except PreconditionFailed:
        return


def fetch(archive: Archive, bucket: Bucket, model_store: Path) -> str:
    """Copies an archive from the bucket to a model store, completely or not at all.

    Args:
        archive: archive to copy.
        bucket: bucket that holds it.
        model_store: folder that TorchServe registers archives from.

    Returns:
        File name in the model store.

    Raises:
        ArchiveChanged: the bytes in the bucket are not those that were declared.
        InvalidConfiguration: the bucket does not have the archive.
        OSError: the model store is full or cannot be written; no partial file stays there.
    """
    file = model_store / archive.file
    if not (file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == archive.sha256):
        stored = bucket.read(FOLDER + archive.file)
        if stored is None:
            raise InvalidConfiguration(f"bucket {bucket.name!r} has no {FOLDER}{archive.file}: register it again")
        if (found := hashlib.sha256(stored.data).hexdigest()) != archive.sha256:
            raise ArchiveChanged(
                f"{FOLDER}{archive.file} in bucket {bucket.name!r} has SHA-256 {found}, {archive.sha256} is declared: "
                "find out who changed it"
            )
        model_store.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            partial.write_bytes(stored.data)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)  # a partial file would keep a full disk full
    return file.name
