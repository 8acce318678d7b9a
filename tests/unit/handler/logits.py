"""Low-resolution masks of every kind, and stock SAM's pixels of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F

from grain_handler.sam.upsampling import Upsampler

CPU = torch.device("cpu")
ROUNDING = 1e-5
"""Largest difference of an interpolated logit from stock's; logits are about ten."""


def inside(frame: int, size: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width, within the frame, of an image of a size, px."""
    return cast("tuple[int, int]", ResizeLongestSide.get_preprocess_shape(*size, frame))


def upsampler(frame: int, size: tuple[int, int]) -> Upsampler:
    """Makes our upsampler for an image of a size."""
    return Upsampler(frame, frame // 4, inside(frame, size), size, CPU)


def stock(logits: Tensor, frame: int, size: tuple[int, int]) -> Tensor:
    """Returns stock's pixels, K × height × width, of low-resolution logits, K × frame / 4 × frame / 4."""
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=frame))
    masks: Tensor = Sam.postprocess_masks(sam, logits[None], inside(frame, size), size)
    return masks[0]


def masks(seed: int, low: int) -> Tensor:
    """Makes twelve masks, 12 × low × low: nothing, everything, single pixels, edges, blobs, speckles, lines."""
    generator = torch.Generator().manual_seed(seed)

    def number(top: int) -> int:
        return int(torch.randint(0, max(1, top), (1,), generator=generator))

    def noise(cells: int) -> Tensor:
        coarse = torch.randn(1, 1, cells, cells, generator=generator)
        return F.interpolate(coarse, size=(low, low), mode="bicubic")[0, 0]

    ground = -2 - torch.rand(6, low, low, generator=generator)
    nothing, pixel, corner, line, block, faint = ground
    pixel[number(low), number(low)] = 9
    corner[-1, -1] = corner[0, 0] = 5
    line[number(low)] = 4
    top, left = number(low), number(low)
    block[top : top + 1 + number(low // 2), left : left + 1 + number(low // 2)] = 6
    faint[number(low), number(low)] = -0.5  # over only the lowered threshold
    everything = 1.5 + torch.rand(low, low, generator=generator)
    blobs = [6 * noise(cells) - 4 for cells in (2, 4, 9)]
    speckles = [3 * noise(low) - shift for shift in (0, 6)]
    return torch.stack([nothing, pixel, corner, line, block, faint, everything, *blobs, *speckles])
