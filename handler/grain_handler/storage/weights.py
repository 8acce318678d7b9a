"""Checkpoint URI → verified local file.

A worker that starts may be one of many on its machine, may have been killed half way before, and reads 2.4 GB
for ViT-H: so one of them downloads, in ranges, going on where the last one stopped; the file gets its name only
once its CRC32C is the object's. The cache is keyed by bucket, object and generation, so that new weights under
an old name are never mistaken for the old ones. What it keeps, each worker that starts checks again: disks and
people change files. That takes 0.4 s for ViT-H where the file is in memory, as the model's own
reading of it wants it to be, and otherwise as long as the disk takes.
"""

from __future__ import annotations

import base64
import logging
import math
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote, unquote, urlparse

import google_crc32c
import numpy as np
import requests
from filelock import FileLock, Timeout
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud import storage

from grain_handler.errors import CheckpointError

logger = logging.getLogger(__name__)

RANGE_BYTES = 32 * 1024 * 1024
"""Bytes per request: what an interruption can cost."""

KEPT = 4
"""Files that stay in the cache, of all buckets and names: what a version swap goes to and may come back from, and
enough for a few models beside each other."""

FRESH_SECONDS = 600
"""So long a file stays anyway: another worker may have been given its path and not opened it yet."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        path: Local file.
        uri: Where it came from, as configured.
        generation: The object's generation; None for a local file.
        crc32c: CRC32C of the content, base64 of big-endian bytes as GCS writes it.
        source: How it came to be here: downloaded now, kept from an earlier download, or a file that was named.
    """

    path: Path
    uri: str
    generation: str | None
    crc32c: str
    source: Literal["download", "cache", "file"] = field(default="file", compare=False)


def fetch(uri: str, cache: Path) -> Checkpoint:
    """Makes the checkpoint a verified local file.

    Args:
        uri: `gs://bucket/object`, `gs://bucket/object#generation`, `file:///path` or a path.
        cache: Folder for downloads; created if missing.

    Returns:
        The checkpoint; its file does not change afterwards.

    Raises:
        CheckpointError: If there is no such object or file, it does not fit on the disk, storage does not
            answer, or what arrives does not have the object's CRC32C.
    """
    if uri.startswith("gs://"):
        try:
            return _fetch_object(uri, cache)
        except (GoogleAPIError, requests.RequestException) as error:
            raise CheckpointError(f"checkpoint {uri} cannot be downloaded: {error}") from error
    path = Path(unquote(urlparse(uri).path)) if uri.startswith("file://") else Path(uri)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {uri}: there is no such file")
    return Checkpoint(path, uri, None, _text(_checksum(path)))


def _fetch_object(uri: str, cache: Path) -> Checkpoint:
    bucket, name, generation = _split(uri)
    client = storage.Client()
    client._http.max_redirects = 0  # GCS never redirects; whoever does would have the worker's token sent elsewhere
    blob = client.bucket(bucket).get_blob(name, generation=generation)
    if blob is None:
        raise CheckpointError(f"checkpoint {uri}: there is no such object; put it there: grainserve weights push FILE")
    folder = cache / bucket / quote(name, safe="")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(blob.generation)
    checkpoint = Checkpoint(target, uri, str(blob.generation), blob.crc32c, "cache")
    with FileLock(_lock(target)):
        if target.exists() and target.stat().st_size == blob.size:
            target.touch()
            if _text(_checksum(target)) == blob.crc32c:
                return checkpoint
            logger.warning("%s has changed since it was fetched from %s; fetching it again", target, uri)
            target.unlink()
        partial = target.with_name(target.name + ".partial")
        with _opened(partial) as file:
            resumed = os.fstat(file.fileno()).st_size > 0
            found = _download(blob, file, partial)
            if found != blob.crc32c and resumed:
                # What an earlier worker left may be what is broken: once more, from nothing.
                logger.warning("the interrupted download of %s was damaged; starting over", uri)
                file.truncate(0)
                found = _download(blob, file, partial)
        if found != blob.crc32c:
            partial.unlink()
            raise CheckpointError(
                f"checkpoint {uri} arrived damaged: its CRC32C is {found}, the object's is {blob.crc32c}; "
                "nothing was kept, try again"
            )
        partial.replace(target)
    _forget(cache)
    return replace(checkpoint, source="download")


def _forget(cache: Path) -> None:
    """Removes all but the files, whole or in part, that were fetched last: each release may have a name of its own.

    A worker that has a removed one mapped keeps it: the disk is freed when that worker ends.
    """
    files = [file for file in cache.glob("*/*/*") if re.fullmatch(r"\d+(\.partial)?", file.name)]
    for old in sorted(files, key=_age)[KEPT:]:
        # Whoever has the lock is about to use it.
        with suppress(Timeout), FileLock(_lock(old), blocking=False):
            if _age(old) > FRESH_SECONDS:
                old.unlink(missing_ok=True)
                logger.info("removed %s from the cache: %d others were fetched later", old, KEPT)


def _lock(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".partial") + ".lock")


def _age(file: Path) -> float:
    """Seconds since a file was fetched; infinite when another worker has removed or renamed it."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _split(uri: str) -> tuple[str, str, int | None]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    name, _, generation = name.partition("#")
    if not bucket or not name or not (generation.isdigit() or not generation):
        raise CheckpointError(f"{uri!r} is not a checkpoint URI: write gs://bucket/object or gs://bucket/object#123")
    return bucket, name, int(generation) if generation else None


def _opened(partial: Path) -> IO[bytes]:
    """Opens the file that a download grows in, and no other that a link in its place leads to.

    Raises:
        CheckpointError: If something else is there.
    """
    try:
        return os.fdopen(os.open(partial, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+b")
    except OSError as error:
        raise CheckpointError(
            f"{partial}, where a download grows, cannot be opened ({error.strerror}): if it is a link or a folder, "
            "find out who put it there, and remove it"
        ) from error


def _download(blob: Any, file: IO[bytes], partial: Path) -> str:
    """Appends what is missing to `file`, which is `partial`; returns the CRC32C of the whole."""
    have = os.fstat(file.fileno()).st_size
    if have > blob.size:
        file.truncate(0)
        have = 0
    free = shutil.disk_usage(partial.parent).free
    if free < blob.size - have:
        raise CheckpointError(
            f"{blob.name} needs {(blob.size - have) / 2**20:.0f} MiB in {partial.parent}, {free / 2**20:.0f} MiB are "
            "free: make room or set GRAINSERVE_WEIGHTS_CACHE to a folder on another disk"
        )
    checksum = _checksum(file)
    # By name: the one looked up would be read wherever its answer's link leads.
    named = blob.bucket.blob(blob.name, generation=blob.generation)
    while have < blob.size:
        end = min(have + RANGE_BYTES, blob.size) - 1
        try:
            data = named.download_as_bytes(
                start=have, end=end, raw_download=True, checksum=None, if_generation_match=blob.generation
            )
        except NotFound:
            raise CheckpointError(f"{blob.name} was deleted while it was downloaded") from None
        if not data:
            raise CheckpointError(f"{blob.name}: storage sent nothing for bytes {have} to {end}")
        file.write(data)
        checksum.update(data)
        have += len(data)
        logger.info("%s: %d of %d MiB", blob.name, have // 2**20, blob.size // 2**20)
    file.flush()
    os.fsync(file.fileno())
    return _text(checksum)


def _checksum(file: Path | IO[bytes]) -> Any:
    """CRC32C of a file as it is on the disk: mapped, and summed up in C without a copy."""
    checksum = google_crc32c.Checksum()
    size = file.stat().st_size if isinstance(file, Path) else os.fstat(file.fileno()).st_size
    if size:  # nothing cannot be mapped
        checksum.update(np.memmap(file, mode="r"))
    return checksum


def _text(checksum: Any) -> str:
    return base64.b64encode(checksum.digest()).decode("ascii")
