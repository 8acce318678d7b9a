"""Uploads checkpoints to the weights bucket; a CRC32C on both sides checks them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import google_crc32c
from google.api_core import exceptions as api
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from grainserve.errors import BucketNotFound, InvalidConfiguration, StorageError
from grainserve.storage.bucket import connect, translated

CHUNK = 8 * 2**20  # a multiple of 256 KiB, as resumable uploads want


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in its bucket.

    Attributes:
        uri: `gs://bucket/name`, for a model config.
        generation: generation of the object: which upload of that name it is.
        crc32c: CRC32C, base64, as GCS gives it.
        uploaded: whether it was uploaded; False where the same bytes were there already.
    """

    uri: str
    generation: int
    crc32c: str
    uploaded: bool


def push(
    file: Path,
    bucket: str,
    name: str | None = None,
    *,
    create_bucket: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Checkpoint:
    """Uploads a checkpoint, unless the same bytes are there under this name.

    Args:
        file: path of the checkpoint.
        bucket: name of the weights bucket.
        name: object name; None for the file's name.
        create_bucket: whether to create the bucket where there is none.
        progress: called with the number of bytes sent so far.

    Raises:
        InvalidConfiguration: the file is missing or empty.
        BucketNotFound: there is no bucket and `create_bucket` is off.
        StorageError: the upload failed or arrived damaged; a damaged upload is deleted.
    """
    name = name or file.name
    checksum = file_crc32c(file)
    retry = DEFAULT_RETRY.with_timeout(60.0)
    with translated(f"uploading {name}", bucket):
        client = connect()
        place = _bucket(client, bucket, create_bucket)
        there = place.get_blob(name, retry=retry)
        if there is not None and there.crc32c == checksum:
            return Checkpoint(f"gs://{bucket}/{name}", int(there.generation), checksum, uploaded=False)
        blob = place.blob(name, chunk_size=CHUNK)
        with file.open("rb") as stream:
            source = _Counted(stream, progress) if progress else stream
            # Does not overwrite what another put there meanwhile.
            expected = 0 if there is None else int(there.generation)
            try:
                blob.upload_from_file(
                    source, size=file.stat().st_size, if_generation_match=expected, checksum="crc32c", retry=retry
                )
            except api.PreconditionFailed:
                raise StorageError(
                    f"gs://{bucket}/{name} changed during the upload: look who else uploads, then try again"
                ) from None
        blob.reload(retry=retry)
        if blob.crc32c != checksum:
            with suppress(api.NotFound, api.PreconditionFailed):  # somebody uploaded it again
                place.blob(name).delete(if_generation_match=int(blob.generation), retry=retry)
            raise StorageError(
                f"gs://{bucket}/{name} arrived damaged (CRC32C {blob.crc32c}, the file has {checksum}) and was "
                "deleted: try again"
            )
    return Checkpoint(f"gs://{bucket}/{name}", int(blob.generation), checksum, uploaded=True)


def file_crc32c(file: Path) -> str:
    """Returns the CRC32C of a file: base64 of its four big-endian bytes, as GCS gives it.

    Raises:
        InvalidConfiguration: the file is missing or empty.
    """
    checksum, size = google_crc32c.Checksum(), 0
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                checksum.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise InvalidConfiguration(f"{file} cannot be read: {error.strerror or error}") from error
    if not size:
        raise InvalidConfiguration(f"{file} is empty: no checkpoint")
    return base64.b64encode(checksum.digest()).decode("ascii")


def _bucket(client: storage.Client, name: str, create: bool) -> storage.Bucket:
    bucket = client.lookup_bucket(name)
    if bucket is None and not create:
        raise BucketNotFound(f"bucket {name!r} does not exist: create it, or pass --create-bucket")
    return bucket if bucket is not None else client.create_bucket(name)


class _Counted(io.BufferedIOBase):
    """A file that reports how far it has been read; a retried chunk is read again and counted once."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress

    def read(self, size: int | None = -1) -> bytes:
        data = self._stream.read(-1 if size is None else size)
        self._progress(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()
