"""The key of a kept embedding: made of everything that determines the embedding, and of nothing else."""

from __future__ import annotations

import hashlib

from grain_handler.wire.options import Options

PREPROCESSING = 1
"""Version of what is done to pixels before the encoder (`crops.Framing.frame`); raise it when that changes."""


def key_of(image_digest: str, options: Options, tenant: str, model: str) -> str:
    """Computes the key of an embedding, hexadecimal.

    Args:
        image_digest: SHA-256 of the image's size and pixels.
        options: options, whose `crop` and `ignore_bottom` select the part of the image that is encoded.
        tenant: tenant whose image it is.
        model: the model's name, its precision and the CRC32C of each of its files.
    """
    part = f"{options.crop or ''} {options.ignore_bottom}"
    text = "\n".join((str(PREPROCESSING), image_digest, part, tenant, model))
    return hashlib.sha256(text.encode()).hexdigest()
