"""Mends the half-written objects that a GCS emulator leaves when it is killed while it writes.

GCS writes an object completely or not at all. fake-gcs-server 1.54 takes several steps. If it is killed between two of
them, one of these stays in the bucket's folder for good:

- An object without attributes. The emulator renames a new version over the former one, and only then writes its
  attributes (generation, checksums). Without them, reading or deleting the object answers 404, and replacing it 412.
- A hidden file, `.name1234567890`. It is either a test whether files can be renamed into this folder, or, where they
  cannot, the new version.

Every listing that meets such a file answers 404, as if the bucket did not exist. An object without attributes was
accepted and is complete, so `mend` writes its attributes; only the answer to its writer was lost, which happens with
GCS as well. A hidden file is a write that did not happen, so `mend` deletes it.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import mimetypes
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c

_ATTRIBUTES = "user.metadata"
_HIDDEN = re.compile(r"\..*\d")  # grainserve's own objects never begin with a dot


def mend(root: Path) -> list[str]:
    """Mends the buckets of an emulator that is not running.

    Does nothing unless attributes are extended attributes of the files that Python can read, which is on Linux.

    Args:
        root: folder of the buckets.

    Returns:
        The mended files: `bucket/object`, or `bucket/folder/.hidden file`.
    """
    halves = [file for file in sorted(root.glob("*/**/*")) if file.is_file() and _has_no_attributes(file)]
    for half in halves:
        if _HIDDEN.fullmatch(half.name):
            half.unlink()
        else:
            _complete(half)
    return [str(half.relative_to(root)) for half in halves]


def _has_no_attributes(file: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        os.getxattr(file, _ATTRIBUTES)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return True
        if error.errno == errno.ENOTSUP:  # on this file system the emulator keeps attributes in separate files
            return False
        raise
    return False


def _complete(file: Path) -> None:
    """Writes the attributes that the emulator would have written; takes the content type from the object's name."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    crc32c, md5 = _checksums(file)
    attributes = {
        "StorageClass": "STANDARD",
        "ContentType": mimetypes.guess_type(file.name)[0] or "application/octet-stream",
        "Crc32c": crc32c,
        "Md5Hash": md5,
        "Etag": md5,
        "Created": now,
        "Updated": now,
        "Generation": time.time_ns() // 1000,
    }
    if sys.platform == "linux":
        os.setxattr(file, _ATTRIBUTES, json.dumps(attributes).encode())


def _checksums(file: Path) -> tuple[str, str]:
    """Returns CRC32C and MD5 of a file as GCS writes them, in base64."""
    crc32c, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            crc32c.update(chunk)
            md5.update(chunk)
    return base64.b64encode(crc32c.digest()).decode(), base64.b64encode(md5.digest()).decode()
