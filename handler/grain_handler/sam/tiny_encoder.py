"""The convolutional image encoder of `sam_tiny` and `sam_nano`.

SAM's encoders are vision transformers of 90 M parameters and more. This one has four million or fewer, so that a
SAM can be trained, committed and run on a laptop. It keeps SAM's interface: a square, normalised image
goes in, an embedding of stride 16 comes out.

An *instance code* lets so small an encoder separate touching grains. At stride 8 the encoder predicts, for each cell,
where the centroid of its grain lies, and writes this absolute position into the embedding as sines and cosines. All
pixels of one grain then carry nearly the same code, and those of its neighbours another, which the mask decoder can
compare by a dot product. Learning this relation from colour alone took a trial model many times as many steps.

The same features tell where SAM is best asked: a second head predicts, for each cell, whether it lies in a grain and
how wide that grain is. The module `seeds` finds the points.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OFFSET_UNIT = 32.0
"""Unit of predicted centroid offsets, px; it keeps them near ±1."""

CODE_WAVELENGTHS = (24.0, 48.0, 96.0, 192.0, 384.0, 768.0)
"""Wavelengths of the instance code, px of the 1024-px frame, from the smallest grains to the frame."""

CODE_FREQUENCIES = tuple((2 * math.pi / torch.tensor(CODE_WAVELENGTHS)).tolist())
"""Frequencies of the instance code, radians per px. They are numbers, not a tensor, so that nothing is copied to the
device for each image, and an encoder compiled ahead of time holds only the checkpoint's tensors."""

CODE_STRIDE = 8

SEED_CHANNELS = 4
"""Channels of a seed map: offset to the centroid (x, y; units of `OFFSET_UNIT`), logit of being in a grain, and the
base-2 logarithm of the grain's equivalent diameter in units of `OFFSET_UNIT`."""

SEED_HEAD = "image_encoder.seed_head."
"""Prefix of the seed head's tensors in a checkpoint; checkpoints from before 2026-12 have no seed head."""


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with group normalisation and a skip connection."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns a map of the same shape as `x` (B × C × H × W)."""
        y = self.conv1(F.gelu(self.norm1(x)))
        y = self.conv2(F.gelu(self.norm2(y)))
        return cast(Tensor, x + y)


def _downsample(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)


class TinyImageEncoder(nn.Module):
    """A convolutional encoder with stride 16 and an instance code; see the module's text.

    Args:
        img_size: side of the square frame that SAM pads images to, px.
        out_chans: channels of the embedding.
        widths: channels at strides 2, 4, 8, 16 and 32; multiples of 8.
    """

    def __init__(
        self,
        img_size: int = 1024,
        out_chans: int = 128,
        widths: tuple[int, int, int, int, int] = (24, 48, 96, 128, 160),
    ) -> None:
        super().__init__()
        self.img_size = img_size
        w2, w4, w8, w16, w32 = widths
        self.stem = nn.Sequential(_downsample(3, w2), nn.GELU(), _downsample(w2, w4), ResidualBlock(w4))
        self.stage8 = nn.Sequential(_downsample(w4, w8), ResidualBlock(w8), ResidualBlock(w8))
        self.stage16 = nn.Sequential(_downsample(w8, w16), *(ResidualBlock(w16, d) for d in (1, 2, 1)))
        self.stage32 = nn.Sequential(_downsample(w16, w32), *(ResidualBlock(w32, d) for d in (1, 2, 4)))
        self.up16 = nn.Conv2d(w32, w16, 1)
        self.fuse16 = ResidualBlock(w16)
        self.up8 = nn.Conv2d(w16, w8, 1)
        self.fuse8 = ResidualBlock(w8)
        self.offset_head = nn.Sequential(nn.GroupNorm(8, w8), nn.GELU(), nn.Conv2d(w8, 2, 3, padding=1))
        self.seed_head: nn.Sequential | None = nn.Sequential(
            nn.GroupNorm(8, w8), nn.GELU(), nn.Conv2d(w8, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 2, 1)
        )
        code_channels = 4 * len(CODE_WAVELENGTHS)
        self.neck = nn.Sequential(
            nn.Conv2d(w16 + 4 * (w8 + code_channels), out_chans, 1, bias=False),
            nn.GroupNorm(8, out_chans),
            nn.GELU(),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            nn.GroupNorm(1, out_chans),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encodes normalised images.

        Args:
            x: images, B × 3 × H × W, H and W multiples of 32.

        Returns:
            The embedding, B × out_chans × H/16 × W/16.
        """
        return self.encode(x, torch.zeros(x.shape[0], 2, device=x.device))[0]

    def encode(self, x: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes crops of the frame; training uses it to place small crops anywhere in the frame.

        Args:
            x: normalised images, B × 3 × H × W, H and W multiples of 32.
            origin: top-left corner of each crop in the frame, (x, y) in px, B × 2.

        Returns:
            The embedding (B × out_chans × H/16 × W/16) and the seed map (B × `SEED_CHANNELS` × H/8 × W/8; without a
            seed head only its first two channels).
        """
        x4 = self.stem(x)
        x8 = self.stage8(x4)
        x16 = self.stage16(x8)
        x32 = self.stage32(x16)
        x16 = self.fuse16(x16 + F.interpolate(self.up16(x32), scale_factor=2.0, mode="nearest"))
        x8 = self.fuse8(x8 + F.interpolate(self.up8(x16), scale_factor=2.0, mode="nearest"))
        offsets = self.offset_head(x8)
        code = self._instance_code(offsets, origin).to(x8.dtype)
        fine = F.pixel_unshuffle(torch.cat([x8, code], dim=1), 2)
        maps = offsets if self.seed_head is None else torch.cat([offsets, self.seed_head(x8)], dim=1)
        return self.neck(torch.cat([x16, fine], dim=1)), maps

    def _instance_code(self, offsets: Tensor, origin: Tensor) -> Tensor:
        """Returns sines and cosines of the predicted absolute centroids, B × 4·wavelengths × H/8 × W/8."""
        with torch.autocast(offsets.device.type, enabled=False):
            offsets = offsets.float()
            height, width = offsets.shape[-2:]
            origin = origin.to(offsets.device)
            ys = (torch.arange(height, device=offsets.device) + 0.5) * CODE_STRIDE
            xs = (torch.arange(width, device=offsets.device) + 0.5) * CODE_STRIDE
            x = xs[None, None, :] + origin[:, 0, None, None] + OFFSET_UNIT * offsets[:, 0]
            y = ys[None, :, None] + origin[:, 1, None, None] + OFFSET_UNIT * offsets[:, 1]
            centroid = torch.stack([x, y], dim=1)
            phase = torch.stack([centroid * frequency for frequency in CODE_FREQUENCIES], dim=2).flatten(1, 2)
            return torch.cat([phase.sin(), phase.cos()], dim=1)


def predicts_seeds(encoder: nn.Module) -> bool:
    """Tells whether an image encoder predicts a seed map beside the embedding."""
    return isinstance(encoder, TinyImageEncoder) and encoder.seed_head is not None


class WithSeeds(nn.Module):
    """An encoder that returns its seed map beside the embedding.

    Args:
        encoder: encoder with a seed head; its parameters are shared.
    """

    def __init__(self, encoder: TinyImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes normalised images (B × 3 × side × side) to embedding and seed map; see `TinyImageEncoder.encode`."""
        return self.encoder.encode(x, torch.zeros(x.shape[0], 2, device=x.device))
