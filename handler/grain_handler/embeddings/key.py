"""What an embedding is kept under: everything that makes it what it is, and nothing that a caller chose."""

from __future__ import annotations

import hashlib

from grain_handler.wire.options import Options

PREPROCESSING = 1
"""Version of what is done to pixels before the encoder sees them (`crops.Framing.frame`); counts its changes."""


def key_of(image_digest: str, options: Options, tenant: str, model: str) -> str:
    """The key of an embedding, hexadecimal.

    Args:
        image_digest: SHA-256 of the image's size and pixels.
        options: Say which part of the image is encoded.
        tenant: Whose image it is.
        model: The files, by their CRC32C, and the precision that make the embedding.
    """
    part = f"{options.crop or ''} {options.ignore_bottom}"
    text = "\n".join((str(PREPROCESSING), image_digest, part, tenant, model))
    return hashlib.sha256(text.encode()).hexdigest()
