"""Checkpoint URI → verified local file.

Many workers may start on one machine, any of them may be killed half way, and ViT-H has 2.4 GB. So only one worker
downloads a file, in ranges, and goes on where the last one stopped. The file gets its name only once its CRC32C is the
object's.

The cache's key is bucket, object and generation, so new weights under an old name are never mistaken for the old ones.
Each worker that starts checks a kept file again, because disks and people change files. The check takes 0.4 s for ViT-H
if the file is in memory, where loading the model needs it anyway; otherwise it takes as long as the disk.
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
"""Bytes per request: the most that an interruption can cost."""

KEPT = 4
"""Files that stay in the cache, over all buckets and names: enough for a version swap and the way back, and for a few
models beside each other."""

FRESH_SECONDS = 600
"""Shortest time that a file stays, s: another worker may have been given its path and not opened it yet."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        path: local file.
        uri: URI or path, as configured.
        generation: generation of the object; None for a local file.
        crc32c: CRC32C of the content, base64 of big-endian bytes as GCS writes it.
        source: `download` if downloaded now, `cache` if kept from an earlier download, `file` if a path was configured.
    """

    path: Path
    uri: str
    generation: str | None
    crc32c: str
    source: Literal["download", "cache", "file"] = field(default="file", compare=False)


def fetch(uri: str, cache: Path) -> Checkpoint:
    """Returns a checkpoint as a local file; downloads and verifies it if its URI begins with `gs://`.

    Args:
        uri: `gs://bucket/object`, `gs://bucket/object#generation`, `file:///path` or a path.
        cache: folder for downloads; created if missing.

    Returns:
        The checkpoint. A downloaded file does not change afterwards.

    Raises:
        CheckpointError: there is no such object or file, the disk has no room for it, storage does not answer, or the
            download does not have the object's CRC32C.
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
    client._http.max_redirects = 0  # GCS never redirects; a redirect would send the worker's token elsewhere
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
                # The part that an earlier worker left may be damaged: download once more, from the beginning.
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
    """Removes all files, whole or partial, but those fetched last: each release may have a name of its own.

    A worker that has mapped a removed file keeps it; the disk is freed when that worker ends.
    """
    files = [file for file in cache.glob("*/*/*") if re.fullmatch(r"\d+(\.partial)?", file.name)]
    for old in sorted(files, key=_age)[KEPT:]:
        # A worker that holds the lock is about to use the file.
        with suppress(Timeout), FileLock(_lock(old), blocking=False):
            if _age(old) > FRESH_SECONDS:
                old.unlink(missing_ok=True)
                logger.info("removed %s from the cache: %d others were fetched later", old, KEPT)


def _lock(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".partial") + ".lock")


def _age(file: Path) -> float:
    """Returns the seconds since a file was last fetched; infinite if another worker has removed or renamed it."""
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
    """Opens the file that a download grows in, without following a link in its place.

    Raises:
        CheckpointError: a link or a folder is in its place, or the file cannot be opened.
    """
    try:
        return os.fdopen(os.open(partial, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+b")
    except OSError as error:
        raise CheckpointError(
            f"{partial}, where a download grows, cannot be opened ({error.strerror}): if it is a link or a folder, "
            "find out who put it there, and remove it"
        ) from error


def _download(blob: Any, file: IO[bytes], partial: Path) -> str:
    """Appends the missing bytes to `file`, opened at the path `partial`; returns the CRC32C of the whole file."""
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
    # A blob by name: `blob`, which was looked up, would be read from whatever link storage's answer named.
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
    """Computes the CRC32C of a file as it is on the disk: in C, from a memory map, without a copy."""
    checksum = google_crc32c.Checksum()
    size = file.stat().st_size if isinstance(file, Path) else os.fstat(file.fileno()).st_size
    if size:  # an empty file cannot be mapped
        checksum.update(np.memmap(file, mode="r"))
    return checksum


def _text(checksum: Any) -> str:
    return base64.b64encode(checksum.digest()).decode("ascii")
