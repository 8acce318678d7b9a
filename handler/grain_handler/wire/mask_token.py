"""The mask token: the prompts that led to a mask, so that any worker can make the mask again and refine it.

The mask's logits would be more direct but are too large: in half precision they have 130 kB, and quantised to 20 kB
they give another mask (docs/prompts.md has the measurement).

A token is base64url of: version (1 byte), the image's digest (its first 16), the CRC32C of the file that the decoder
comes from (4; the prompt decoder, else the checkpoint), seconds since 1970 (4), the deflated JSON, and the CRC32C of
all this (4). The checksum protects from accidents, not from a forger, who could send the same prompts anyway.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import google_crc32c

from grain_handler.errors import InvalidMaskToken, MaskTokenExpired, MaskTokenMismatch

VERSION = 1
HEAD = struct.Struct(">B16s4sI")
CHECKSUM_BYTES = 4

SECONDS = 24 * 3600
"""Time for which a token is valid, s."""
LONGEST = 64 * 1024
"""Length limit of a token, characters."""
MOST_BYTES = 256 * 1024
"""Size limit of a token's JSON, bytes: enough for sixteen prompts of many points, or for a mask of many runs."""


def write_token(asked: Any, image: bytes, checkpoint: str, now: float) -> str:
    """Writes a token.

    Args:
        asked: prompts, as JSON values.
        image: SHA-256 of the pixels that the model saw.
        checkpoint: CRC32C of the checkpoint, in base64 as in GCS's metadata.
        now: time, s since 1970.
    """
    text = json.dumps(asked, separators=(",", ":")).encode()
    data = HEAD.pack(VERSION, image[:16], base64.b64decode(checkpoint), int(now)) + zlib.compress(text, 9)
    return base64.urlsafe_b64encode(data + _checksum(data)).decode("ascii").rstrip("=")


def read_token(token: str, image: bytes, checkpoint: str, now: float) -> Any:
    """Reads the prompts of a token; the other arguments are those of `write_token`.

    Raises:
        InvalidMaskToken: the token is damaged.
        MaskTokenMismatch: the token is of another image, or of another part of it.
        MaskTokenExpired: the token is of another checkpoint, or too old.
    """
    if len(token) > LONGEST:
        raise InvalidMaskToken(f"it has {len(token)} letters, the limit is {LONGEST}: send the prompts instead")
    try:
        letters = token.encode("ascii")
        data = base64.b64decode(letters + b"=" * (-len(letters) % 4), altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error, or letters that are not ASCII
        raise InvalidMaskToken("it is neither a token nor run lengths: send maskToken as it was answered") from None
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(body) < HEAD.size or checksum != _checksum(body):
        raise InvalidMaskToken("the token is damaged: send maskToken as it was answered")
    version, of_image, of_checkpoint, written = HEAD.unpack_from(body)
    if version != VERSION:
        raise InvalidMaskToken(f"the token has version {version}, this worker reads {VERSION}: ask again")
    if of_image != image[:16]:
        raise MaskTokenMismatch("the token is of another image, or of another part of it: ask this image first")
    if of_checkpoint != base64.b64decode(checkpoint):
        raise MaskTokenExpired(
            "the token is of another checkpoint or prompt decoder than this model has now: ask again"
        )
    if abs(now - written) > SECONDS:
        raise MaskTokenExpired(f"the token is older than {SECONDS // 3600} hours: ask again")
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(body[HEAD.size :], MOST_BYTES)
        if not inflater.eof:
            raise InvalidMaskToken(f"the token holds more than {MOST_BYTES} bytes: send the prompts instead")
        return json.loads(text)
    except (zlib.error, ValueError, RecursionError):
        raise InvalidMaskToken("the token is damaged: send maskToken as it was answered") from None


def _checksum(data: bytes) -> bytes:
    checksum: bytes = google_crc32c.Checksum(data).digest()
    return checksum
