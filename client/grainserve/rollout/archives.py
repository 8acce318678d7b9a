"""Model archives: pinned by their SHA-256, kept in the bucket, laid into model stores under names of their own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.storage import Bucket, PreconditionFailed

FOLDER = "archives/"
MANIFEST = "MAR-INF/MANIFEST.json"
NAME = re.compile(r".+-.+-[0-9a-f]{12}\.mar")
MOST = 64 * 2**20
"""An archive holds code and config, never weights: kilobytes."""


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
            named = json.loads(opened.read(MANIFEST))["model"]
        archive = Archive(str(named["modelName"]), str(named["modelVersion"]), hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InvalidConfiguration(f"{path} is no model archive ({error!r}): `make mar` packs one") from None
    if "/" in archive.file:
        raise InvalidConfiguration(f"{path} names a model or version with a slash")
    return archive, data


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
        partial.write_bytes(stored.data)
        partial.replace(file)
    return file.name
