"""Numerical precision as a choice: what each one computes in, and the encoder it takes."""

from __future__ import annotations

import copy

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import nn

from grain_handler.encoder import FusedEncoder

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}
"""Precision → the type of everything that has the image's size; int8 quantises the encoder's products besides."""


def image_encoder(sam: Sam, precision: str) -> tuple[nn.Module, torch.dtype]:
    """The model's image encoder in a precision.

    Args:
        sam: Stock model; not changed.
        precision: A key of `PRECISIONS`.

    Returns:
        The encoder, and the type it takes images in.

    Raises:
        ValueError: If the precision is unknown or the encoder has nothing to quantise.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: it is one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    encoder = sam.image_encoder
    if dtype != torch.float32:
        encoder = copy.deepcopy(encoder).to(dtype)
    if isinstance(encoder, ImageEncoderViT):
        encoder = FusedEncoder(encoder)
    return encoder.eval(), dtype
