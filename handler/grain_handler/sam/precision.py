"""Numerical precision: the types that a model computes in, and its image encoder in each precision.

* `fp32`: stock SAM's answers, up to rounding.
* `bf16`: arrays of the image's size are computed in bfloat16; prompt tokens, predicted IoU, thresholds and pixels stay
  in single precision. Several times as fast if the processor multiplies bfloat16 matrices.
* `int8`: like `bf16`, but the encoder's weights are held in eight bits: half of bfloat16's memory, a quarter of
  `fp32`'s. Activations are not quantised: on 4096 tokens that costs more time than eight-bit products save.

A model config may also say `auto`: `bf16` where the device multiplies bfloat16 matrices, else `fp32`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional as F

from grain_handler.sam.fused_encoder import FusedEncoder
from grain_handler.sam.tiny_encoder import TinyImageEncoder, WithSeeds, predicts_seeds

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}
"""Type of arrays of the image's size, by precision."""


def resolve(precision: str, device: torch.device) -> str:
    """Returns the precision that `auto` stands for on a device; any other precision stays as it is."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16" if fast else "fp32"


def dtype_of(precision: str) -> torch.dtype:
    """Returns the type of arrays of the image's size.

    Raises:
        ValueError: the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: it is one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def image_encoder(stock: nn.Module, precision: str) -> nn.Module:
    """Makes an image encoder in a precision; attention, if it has any, is fused.

    Args:
        stock: image encoder of the model; not changed, its parameters are shared in `fp32`.
        precision: key of `PRECISIONS`.

    Returns:
        The encoder; it takes images of the precision's type. If it predicts seeds, it returns embedding and seed map.

    Raises:
        ValueError: the precision is unknown, or the encoder has nothing to quantise.
    """
    dtype = dtype_of(precision)
    encoder = stock if dtype == torch.float32 else copy.deepcopy(stock).to(dtype)
    if isinstance(encoder, ImageEncoderViT):
        encoder = FusedEncoder(encoder)
    if precision == "int8":
        _quantise(encoder)
    if predicts_seeds(encoder):
        encoder = WithSeeds(cast(TinyImageEncoder, encoder))
    return encoder.eval()


class Int8Linear(nn.Module):
    """A linear layer with eight-bit weights, one scale for each output channel.

    Args:
        linear: layer to replace.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.float()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale.to(linear.weight.dtype))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Computes the layer's product; the weights are unpacked for it only."""
        return F.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def _quantise(encoder: nn.Module) -> None:
    """Replaces an encoder's linear layers in place.

    Raises:
        ValueError: the encoder has no linear layer.
    """
    layers = list(_linear_layers(encoder))
    if not layers:
        raise ValueError(f"int8 quantises linear layers, and {type(encoder).__name__} has none: use bf16 or fp32")
    for parent, name, layer in layers:
        setattr(parent, name, Int8Linear(layer))


def _linear_layers(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yields each linear layer with its parent and its name there."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                yield parent, name, child
