"""SAM's vision transformer with fused attention: the same embedding, without the bias in memory.

Stock SAM writes the scores of every head, 4096 × 4096, to memory, adds two relative-position terms to them
and reads them back. Here these terms are channels of the dot product itself: with Rh, Rw the relative
positions and (kh, kw) the cell of a key,

    q·k + (q·Rh)[kh] + (q·Rw)[kw]  =  (q ⊕ q·Rh ⊕ q·Rw) · (k ⊕ onehot(kh) ⊕ onehot(kw))

which any fused attention kernel computes block by block.
"""

from __future__ import annotations

from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional as F

MLP_TOKENS = 1024
"""Tokens of an image whose hidden layer is computed at once on the CPU. The layer then stays in the cache, and below
the size from which the allocator takes fresh pages for every array, which cost more than the arithmetic."""


class FusedAttention(nn.Module):
    """Multi-head attention with decomposed relative position on a side × side grid of tokens.

    Args:
        attention: stock attention; its parameters are shared.
        side: tokens along each side of the grid.
    """

    rows: Tensor
    columns: Tensor
    cells: Tensor

    def __init__(self, attention: Attention, side: int) -> None:
        super().__init__()
        self.heads, self.scale, self.side = attention.num_heads, attention.scale, side
        self.qkv, self.proj = attention.qkv, attention.proj
        rows, columns = (get_rel_pos(side, side, table) for table in (attention.rel_pos_h, attention.rel_pos_w))
        # [query coordinate, channel, key coordinate], ready for a batched product
        self.register_buffer("rows", rows.transpose(1, 2).contiguous(), persistent=False)
        self.register_buffer("columns", columns.transpose(1, 2).contiguous(), persistent=False)
        onehot = torch.eye(side, device=rows.device)
        cells = torch.cat([onehot.repeat_interleave(side, 0), onehot.repeat(side, 1)], dim=1)
        self.register_buffer("cells", cells, persistent=False)

    def attend(self, qkv: Tensor) -> Tensor:
        """Computes the attention within each grid.

        Args:
            qkv: projected tokens, B × side × side × 3·channels.

        Returns:
            B × side × side × channels, before the output projection.
        """
        batch, side, heads = qkv.shape[0], self.side, self.heads
        tokens = side * side
        q, k, v = qkv.view(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        width = q.shape[-1]
        # B, heads, row, column, channel → one product per row, one per column of the queries
        grid = q.reshape(batch * heads, side, side, width)
        by_row = (grid.transpose(0, 1).reshape(side, -1, width) @ self.rows.to(q.dtype)).view(side, -1, side, side)
        by_column = (grid.permute(2, 0, 1, 3).reshape(side, -1, width) @ self.columns.to(q.dtype)).view(
            side, -1, side, side
        )
        q = torch.cat(
            [
                q * self.scale,
                by_row.transpose(0, 1).reshape(batch, heads, tokens, side),
                by_column.permute(1, 2, 0, 3).reshape(batch, heads, tokens, side),
            ],
            dim=-1,
        )
        cells = self.cells.to(k.dtype).expand(batch, heads, -1, -1)
        k = torch.cat([k, cells], dim=-1)
        # The fused kernels want values as wide as queries.
        v = F.pad(v, (0, 2 * side))
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :width]
        return attended.transpose(1, 2).reshape(batch, side, side, heads * width)


class FusedBlock(nn.Module):
    """A transformer block of SAM's encoder: attention in the whole grid or in windows, then an MLP.

    Args:
        block: stock block; its parameters are shared.
        side: tokens along each side of the whole grid.
    """

    def __init__(self, block: Block, side: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.window = block.norm1, block.norm2, block.mlp, block.window_size
        self.attn = FusedAttention(block.attn, self.window or side)

    def forward(self, x: Tensor) -> Tensor:
        """Returns tokens of the same shape as `x` (B × side × side × channels)."""
        batch, side, _, channels = x.shape
        qkv = self.attn.qkv(self.norm1(x))
        if self.window > 0:
            # Stock pads the tokens with zeros before projecting them: a projected zero is the bias.
            windows = -(-side // self.window)
            padded = self.attn.qkv.bias.expand(batch, *2 * [windows * self.window], -1).clone()
            padded[:, :side, :side] = qkv
            attended = self.attn.attend(_split(padded, self.window))
            attended = _join(attended, windows)[:, :side, :side].contiguous()
        else:
            attended = self.attn.attend(qkv)
        x = x + self.attn.proj(attended)
        # Each image is split on its own, so that the parts do not depend on the batch.
        flat = x.view(batch, side * side, channels)
        step = MLP_TOKENS if x.device.type == "cpu" else side * side
        return torch.cat([part + self.mlp(self.norm2(part)) for part in flat.split(step, dim=1)], dim=1).view_as(x)


def _split(x: Tensor, window: int) -> Tensor:
    """Splits a grid into windows: B × H × W × C → windows × window × window × C."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window, window, channels)


def _join(x: Tensor, windows: int) -> Tensor:
    """Joins windows × windows windows of each image again; the inverse of `_split`."""
    _, window, _, channels = x.shape
    x = x.view(-1, windows, windows, window, window, channels)
    return x.transpose(2, 3).reshape(-1, windows * window, windows * window, channels)


class FusedEncoder(nn.Module):
    """SAM's image encoder with fused blocks.

    Args:
        encoder: stock encoder with decomposed relative positions, which every published SAM has.
    """

    def __init__(self, encoder: ImageEncoderViT) -> None:
        super().__init__()
        self.patch_embed, self.neck = encoder.patch_embed, encoder.neck
        self.pos_embed = cast("nn.Parameter | None", encoder.pos_embed)
        side = encoder.img_size // 16
        self.blocks = nn.ModuleList(FusedBlock(block, side) for block in encoder.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes normalised images: B × 3 × 1024 × 1024 → B × 256 × 64 × 64."""
        # The patch embedding's result has its channels first in memory; with several images they would stay first.
        x = self.patch_embed(x).contiguous()
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.neck(x.permute(0, 3, 1, 2)))
