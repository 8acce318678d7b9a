"""Makes good what a GCS emulator left half-done that was killed while it wrote.

GCS writes an object or does not. fake-gcs-server 1.54 takes several steps; killed between two of them it leaves, for
good, one of these in the bucket's folder:

- an object without attributes: a new version is renamed over the former one, and gets its attributes (generation,
  checksums) only then. Whoever reads or deletes it is told 404, and whoever replaces it 412;
- a hidden file, `.name1234567890`: a trial whether it can rename into this folder, or the new version where it cannot.

Either makes it answer 404, as if there were no bucket, to every listing that comes across the file. An object without
attributes was accepted and is whole, so it is given its attributes: its writer's answer was lost, as GCS's may be. A
hidden file is a write that has not happened, so it goes.
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
_HIDDEN = re.compile(r"\..*\d")  # no object of ours begins with a dot


def mend(root: Path) -> list[str]:
    """Mends the buckets of an emulator that is not running.

    Only where the emulator keeps attributes as extended ones of the file, and Python reads those: on Linux.

    Args:
        root: Folder of its buckets.

    Returns:
        What was mended: `bucket/object`, or `bucket/folder/.hidden file`.
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
        if error.errno == errno.ENOTSUP:  # the emulator keeps attributes in files of their own here
            return False
        raise
    return False


def _complete(file: Path) -> None:
    """Gives an object the attributes that the emulator would have; its content type is told from its name."""
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
    """CRC32C and MD5 as GCS writes them."""
    crc32c, md5 = google_crc32c.Checksum(), hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            crc32c.update(chunk)
            md5.update(chunk)
    return base64.b64encode(crc32c.digest()).decode(), base64.b64encode(md5.digest()).decode()
