"""Model archives: pinned by their SHA-256, kept in the bucket, laid into model stores under names of their own."""

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
"""Bytes of an archive, packed and unpacked, and of its manifest: it holds code and config, never weights."""


class ArchiveChanged(GrainserveError):
    """An archive's bytes are not those that were declared."""

    code = "archive_changed"


@dataclass(frozen=True)
class Archive:
    """A model archive.

    Attributes:
        model: TorchServe model, by its manifest.
        version: its version.
        sha256: of its bytes, hex.
    """

    model: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name in the bucket and in model stores: one for each content, so that nothing is overwritten."""
        return f"{self.model}-{self.version}-{self.sha256[:12]}.mar"


def is_named_here(file: str) -> bool:
    """Whether a file in a model store was laid there by `fetch`, to go by its name."""
    return bool(NAME.fullmatch(file))


def read(path: Path) -> tuple[Archive, bytes]:
    """Reads an archive and its manifest.

    Raises:
        InvalidConfiguration: it is none.
    """
    try:
        if path.stat().st_size > MOST:
            raise InvalidConfiguration(f"{path} has over {MOST >> 20} MiB: weights do not belong into an archive")
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            _check_sizes(path, opened.infolist())
            with opened.open(MANIFEST) as manifest:
                # No further than that, whatever the archive says of its size.
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
    """Refuses what would unpack to more than an archive has, before anything is unpacked."""
    if (size := sum(member.file_size for member in members)) > MOST:
        raise InvalidConfiguration(
            f"{path} unpacks to {size >> 20} MiB, over {MOST >> 20}: weights do not belong into an archive"
        )
    # Of these two alone Python unpacks no more at once than it is asked for.
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise InvalidConfiguration(f"{path} is compressed as TorchServe does not read it: `make mar` packs one")


def push(archive: Archive, data: bytes, bucket: Bucket) -> None:
    """Stores an archive in the bucket; one that is there already is left."""
    try:
        bucket.create(FOLDER + archive.file, data, "application/zip")
    except PreconditionFailed:
        return


def fetch(archive: Archive, bucket: Bucket, model_store: Path) -> str:
    """Lays an archive into a model store, complete or not at all.

    Returns:
        Its file name there.

    Raises:
        ArchiveChanged: what the bucket has is not what was declared.
        InvalidConfiguration: the bucket does not have it.
        OSError: the model store is full or cannot be written; nothing is left there.
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
            partial.unlink(missing_ok=True)  # of a full disk, it would keep it full
    return file.name
