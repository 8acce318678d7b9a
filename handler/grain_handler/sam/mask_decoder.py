"""SAM's mask decoder for many single-point prompts on one image: the same numbers, a tenth of the work.

Stock SAM repeats the image's 4096 tokens for every prompt and projects each copy. Three exact rewritings avoid this:

* The first layer sees the same image tokens whatever the prompt, so they are projected once per image.
* In the later layers the projections of the image tokens X are moved over to the seven prompt tokens:
  q·(X Wᵀ + b) = (q W)·X + const. The constant drops out of a softmax over X. A softmax's weights sum to one, so a bias
  of the values is added once, after it.
* The upscaling convolutions have stride = kernel, so each image token becomes its own 4 × 4 pixels by two matrix
  products. They are computed only for prompts that pass the predicted IoU, and only for tokens inside the image.

A prompt may also see a *window* of the image's tokens instead of all of them. It then has tokens of its own from the
first layer on; the work shrinks with the window's area, and the masks are approximate. See `windows`.

Shapes: P prompts, T tokens of a prompt (7: IoU, 4 masks, the point, and the padding that SAM adds to points), N image
tokens (side²), n image tokens of a window, C channels, h heads of d channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from segment_anything.modeling import MaskDecoder, Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

MASKS = 3
"""Masks of a prompt: whole, part and subpart. The decoder's fourth mask is for prompts without ambiguity."""

AMBIGUOUS, SINGLE = slice(1, 1 + MASKS), slice(0, 1)
"""Indices of the decoder's masks: three for an ambiguous prompt, one for a prompt without ambiguity."""


class _TokenToImage:
    """Attention of the prompt tokens to the image tokens."""

    def __init__(self, attention: Attention) -> None:
        self.attention, self.heads = attention, attention.num_heads
        self.key = _by_head(attention.k_proj.weight, self.heads)
        self.value = _by_head(attention.v_proj.weight, self.heads)
        self.value_bias = attention.v_proj.bias

    def queries(self, tokens: Tensor) -> Tensor:
        """Projects prompt tokens to scaled queries: P × T × C → P × h × T × d."""
        q = _heads(self.attention.q_proj(tokens), self.heads)
        return q / math.sqrt(q.shape[-1])

    def shared(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends to image tokens that all prompts share, given their projections (h × N × d)."""
        q = self.queries(tokens)
        prompts, heads, count, width = q.shape
        q = q.transpose(0, 1).reshape(1, heads, prompts * count, width).to(keys.dtype)
        out = F.scaled_dot_product_attention(q, keys[None], values[None], scale=1.0)
        out = out.view(heads, prompts, count, width).permute(1, 2, 0, 3).flatten(2)
        return cast(Tensor, self.attention.out_proj(out.to(tokens.dtype)))

    def windowed(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends to each prompt's own image tokens, given their projections (P × h × n × d)."""
        q = self.queries(tokens).to(keys.dtype)
        out = F.scaled_dot_product_attention(q, keys, values, scale=1.0).transpose(1, 2).flatten(2)
        return cast(Tensor, self.attention.out_proj(out.to(tokens.dtype)))

    def __call__(self, tokens: Tensor, image_and_position: Tensor, image: Tensor) -> Tensor:
        """Attends to each prompt's own image tokens, unprojected (P × N × C)."""
        q = torch.einsum("phtd,hdc->phtc", self.queries(tokens), self.key).flatten(1, 2)
        scores = q.to(image.dtype) @ image_and_position.transpose(1, 2)
        context = (torch.softmax(scores, dim=-1) @ image).to(tokens.dtype)
        context = context.view(len(tokens), self.heads, -1, context.shape[-1])
        out = torch.einsum("phtc,hdc->pthd", context, self.value).flatten(2) + self.value_bias
        return cast(Tensor, self.attention.out_proj(out))


class _ImageToToken:
    """Attention of the image tokens to the prompt tokens."""

    def __init__(self, attention: Attention) -> None:
        self.attention, self.heads = attention, attention.num_heads
        self.query = _by_head(attention.q_proj.weight, self.heads)
        self.query_bias = attention.q_proj.bias.view(self.heads, -1)
        # channels × (heads, width) → heads × width × channels
        self.out = attention.out_proj.weight.T.reshape(self.heads, -1, attention.out_proj.out_features)

    def keys(self, tokens: Tensor) -> Tensor:
        """Projects prompt tokens to scaled keys: P × T × C → P × h × T × d."""
        k = _heads(self.attention.k_proj(tokens), self.heads)
        return k / math.sqrt(k.shape[-1])

    def values(self, tokens: Tensor) -> Tensor:
        """Returns what each prompt token adds to an image token that attends to it alone, P × hT × C."""
        v = _heads(self.attention.v_proj(tokens), self.heads)
        out = torch.einsum("phtd,hdc->phtc", v, self.out)
        # Each head's weights sum to one, so the bias can be added to any one head.
        out[:, 0] += self.attention.out_proj.bias
        return out.flatten(1, 2)

    def shared(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Returns the prompt tokens' weights (P × hT × N) for image tokens that all prompts share.

        Args:
            tokens: prompt tokens, P × T × C.
            queries: projected image tokens, h × N × d.
        """
        k = self.keys(tokens)
        prompts, heads, count, width = k.shape
        scores = k.transpose(0, 1).reshape(heads, prompts * count, width).to(queries.dtype) @ queries.transpose(1, 2)
        scores = scores.view(heads, prompts, count, -1)
        return torch.softmax(scores, dim=2).transpose(0, 1).reshape(prompts, heads * count, -1)

    def windowed(self, tokens: Tensor, queries: Tensor) -> Tensor:
        """Returns the prompt tokens' weights (P × hT × n) for each prompt's own image tokens.

        Args:
            tokens: prompt tokens, P × T × C.
            queries: projected image tokens, P × h × n × d.
        """
        scores = self.keys(tokens).to(queries.dtype) @ queries.transpose(-1, -2)
        return torch.softmax(scores, dim=2).flatten(1, 2)

    def __call__(self, tokens: Tensor, image_and_position: Tensor) -> Tensor:
        """Returns the prompt tokens' weights (P × hT × N) for each prompt's own image tokens.

        Args:
            tokens: prompt tokens, P × T × C.
            image_and_position: image tokens plus their positions, unprojected, P × N × C.
        """
        k = self.keys(tokens)
        constant = torch.einsum("phtd,hd->pht", k, self.query_bias).flatten(1)[:, :, None]
        k = torch.einsum("phtd,hdc->phtc", k, self.query).flatten(1, 2)
        dtype = image_and_position.dtype
        scores = torch.baddbmm(constant.to(dtype), k.to(dtype), image_and_position.transpose(1, 2))
        scores = scores.view(len(tokens), self.heads, -1, scores.shape[-1])
        return torch.softmax(scores, dim=2).flatten(1, 2)


@dataclass(frozen=True)
class ImageTokens:
    """The tokens and projections that all prompts on one image share.

    Attributes:
        tokens: tokens of the embedding, 1 × N × C.
        keys: projected keys of the first layer's token-to-image attention, h × N × d.
        values: projected values of the first layer's token-to-image attention, h × N × d.
        queries: projected queries of the first layer's image-to-token attention, h × N × d.
    """

    tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor

    def windows(self, cells: Tensor) -> WindowTokens:
        """Cuts a window of the image for each prompt.

        Args:
            cells: indices of the tokens that each prompt sees, P × n.
        """
        keys, values, queries = (
            part[:, cells].transpose(0, 1).contiguous() for part in (self.keys, self.values, self.queries)
        )
        return WindowTokens(self.tokens[0, cells], keys, values, queries, cells)


@dataclass(frozen=True)
class WindowTokens:
    """Windows of an image, one for each prompt, with n tokens each.

    Attributes:
        tokens: tokens of the embedding, P × n × C.
        keys: projected keys of the first layer's token-to-image attention, P × h × n × d.
        values: projected values of the first layer's token-to-image attention, P × h × n × d.
        queries: projected queries of the first layer's image-to-token attention, P × h × n × d.
        cells: indices of the tokens in the image, P × n; None for all tokens, in order.
    """

    tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor
    cells: Tensor | None

    @classmethod
    def whole(cls, images: Sequence[ImageTokens]) -> WindowTokens:
        """Gives each prompt all the tokens of an image of its own."""
        keys, values, queries = (
            torch.stack([getattr(image, part) for image in images]) for part in ("keys", "values", "queries")
        )
        return cls(torch.cat([image.tokens for image in images]), keys, values, queries, None)


class PromptDecoder:
    """The mask decoder of a SAM, rewritten for automatic masks.

    Args:
        sam: stock model in evaluation mode; its parameters are shared or copied, never changed.
        dtype: type of all arrays of the image's size. The few prompt tokens stay in single precision.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        self.dtype, self.prompt_encoder = dtype, sam.prompt_encoder
        decoder: MaskDecoder = sam.mask_decoder
        transformer = decoder.transformer
        self.layers = list(transformer.layers)
        self.token_to_image = [_TokenToImage(layer.cross_attn_token_to_image) for layer in self.layers]
        self.image_to_token = [_ImageToToken(layer.cross_attn_image_to_token) for layer in self.layers]
        self.final = _TokenToImage(transformer.final_attn_token_to_image)
        self.final_norm = transformer.norm_final_attn
        self.position = _as_tokens(sam.prompt_encoder.get_dense_pe())
        self.output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self.iou_head = decoder.iou_prediction_head
        self.mask_heads = list(decoder.output_hypernetworks_mlps)
        self.upscaler = _Upscaler(decoder.output_upscaling, dtype)
        self.image_norms = [_Norm(layer.norm4, dtype) for layer in self.layers]
        self.image_position = self.position.to(dtype)

    @property
    def bytes_per_prompt(self) -> int:
        """Memory of one prompt's intermediate results, bytes: eight arrays of the image tokens' size at the peak."""
        return 8 * self.position.numel() * self.dtype.itemsize

    def prepare(self, embedding: Tensor, mask: Tensor | None = None) -> ImageTokens:
        """Computes, once for an image, the projections that all prompts share.

        Args:
            embedding: embedding of the image, 1 × C × side × side.
            mask: embedding of a prompt's mask (see `masks`), 1 × C × side × side; None for prompts without a mask.

        Returns:
            The image's tokens and their projections.
        """
        tokens = _as_tokens(embedding.to(self.position.dtype))
        tokens = tokens + (self.prompt_encoder.no_mask_embed.weight if mask is None else _as_tokens(mask))
        placed = tokens + self.position
        ask, answer = self.token_to_image[0], self.image_to_token[0]
        keys = _heads(ask.attention.k_proj(placed), ask.heads)[0]
        values = _heads(ask.attention.v_proj(tokens), ask.heads)[0]
        queries = _heads(answer.attention.q_proj(placed), answer.heads)[0]
        return ImageTokens(
            tokens.to(self.dtype),
            keys.contiguous().to(self.dtype),
            values.contiguous().to(self.dtype),
            queries.contiguous().to(self.dtype),
        )

    def points(self, points: Tensor) -> Tensor:
        """Makes the prompt tokens of single points.

        Args:
            points: P × 2, (x, y) in px of the 1024-px frame.

        Returns:
            P × 2 × C.
        """
        labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
        prompts: Tensor = self.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)[0]
        return prompts

    def boxes(self, boxes: Tensor) -> Tensor:
        """Makes the prompt tokens of boxes.

        Args:
            boxes: P × 4: left, top, right and bottom in px of the 1024-px frame.

        Returns:
            P × 2 × C.
        """
        prompts: Tensor = self.prompt_encoder(points=None, boxes=boxes, masks=None)[0]
        return prompts

    def masks(self, logits: Tensor) -> Tensor:
        """Embeds masks to refine (low-resolution logits, P × 4·side × 4·side): P × C × side × side."""
        dense: Tensor = self.prompt_encoder(points=None, boxes=None, masks=logits[:, None])[1]
        return dense

    def decode(
        self, image: ImageTokens | WindowTokens, prompts: Tensor, which: slice = AMBIGUOUS
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the two-way transformer and the IoU head.

        Args:
            image: image tokens from `prepare`; or windows of them, one for each prompt.
            prompts: prompt tokens from `points` or `boxes`, P × t × C.
            which: `AMBIGUOUS` for m = 3 masks of each prompt, `SINGLE` for m = 1.

        Returns:
            Predicted IoU (P × m), the prompts' mask tokens (P × m × C) and their image tokens (P × N × C; for windows
            P × n × C).
        """
        asked = torch.cat([self.output_tokens.expand(len(prompts), -1, -1), prompts], dim=1)
        windowed = isinstance(image, WindowTokens)
        cells = image.cells if isinstance(image, WindowTokens) else None
        position = self.image_position if cells is None else self.image_position[0, cells]
        ask, reply = self.token_to_image[0], self.image_to_token[0]

        tokens, keys = asked, image.tokens
        for i, layer in enumerate(self.layers):
            if i == 0:
                tokens = layer.norm1(layer.self_attn(tokens, tokens, tokens))
                look = ask.windowed if windowed else ask.shared
                seen = look(tokens + asked, image.keys, image.values)
            else:
                placed = keys + position
                tokens = layer.norm1(tokens + layer.self_attn(tokens + asked, tokens + asked, tokens))
                seen = self.token_to_image[i](tokens + asked, placed, keys)
            tokens = layer.norm2(tokens + seen)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            answer = self.image_to_token[i]
            if i == 0:
                weights = (reply.windowed if windowed else reply.shared)(tokens + asked, image.queries)
            else:
                weights = answer(tokens + asked, placed)
            values = answer.values(tokens).to(self.dtype)
            keys = torch.baddbmm(keys.expand(len(prompts), -1, -1), weights.transpose(1, 2), values)
            keys = self.image_norms[i](keys)
        # The other tokens have played their part: nothing reads what they see.
        last, asked = (torch.cat([each[:, :1], each[:, 1 : 2 + MASKS][:, which]], dim=1) for each in (tokens, asked))
        last = self.final_norm(last + self.final(last + asked, keys + position, keys))
        return self.iou_head(last[:, 0])[:, which], last[:, 1:], keys

    def logits(self, mask_tokens: Tensor, keys: Tensor, rows: int, columns: int, which: slice = AMBIGUOUS) -> Tensor:
        """Computes the logits of prompts' masks.

        Args:
            mask_tokens: mask tokens from `decode`, P × m × C.
            keys: image tokens from `decode`, P × N × C; for windows P × n × C.
            rows: rows of tokens that lie in the image, not in the padding; for windows all their rows.
            columns: columns of tokens that lie in the image, not in the padding; for windows all their columns.
            which: as in `decode`.

        Returns:
            P × m × 4·rows × 4·columns, single precision; a pixel over 0 is in the mask.
        """
        weights = torch.stack([head(mask_tokens[:, i]) for i, head in enumerate(self.mask_heads[which])], dim=1)
        side = math.isqrt(keys.shape[1])
        inside = keys.view(len(keys), side, side, keys.shape[-1])[:, :rows, :columns]
        return self.upscaler(inside, weights)


class _Upscaler:
    """The two transposed convolutions of stride 2, as matrix products on tokens, and the masks' dot products."""

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype) -> None:
        first, norm, _, second, _ = cast(
            "tuple[nn.ConvTranspose2d, LayerNorm2d, nn.Module, nn.ConvTranspose2d, nn.Module]", tuple(layers)
        )
        self.first, self.first_bias = _as_product(first, dtype)
        self.second, self.second_bias = _as_product(second, dtype)
        self.norm_weight, self.norm_bias, self.norm_eps = norm.weight.to(dtype), norm.bias.to(dtype), norm.eps

    def __call__(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Computes logits: tokens (P × rows × columns × C), mask weights (P × m × C/8) → P × m × 4·rows × 4·columns."""
        prompts, rows, columns, _ = tokens.shape
        x = torch.addmm(self.first_bias, tokens.reshape(-1, tokens.shape[-1]), self.first)
        x = x.view(-1, len(self.norm_weight))
        x = F.gelu(F.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias, self.norm_eps))
        x = F.gelu(torch.addmm(self.second_bias, x, self.second))
        # Pixels come token by token: row, column, then the halves of the first and of the second doubling.
        masks = weights.to(x.dtype) @ x.view(prompts, rows * columns * 16, weights.shape[-1]).transpose(1, 2)
        masks = masks.to(weights.dtype)
        # Two neighbours in a row stay neighbours: moving them as one complex number takes an eighth of the time.
        pairs = masks.view(masks.dtype.to_complex()).view(prompts * weights.shape[1] * rows, columns, 2, 2, 2)
        pairs = pairs.permute(0, 2, 4, 1, 3).reshape(*weights.shape[:2], 4 * rows, 2 * columns)
        return pairs.view(masks.dtype)


class _Norm:
    """A layer norm with parameters of the image tokens' type."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.eps = norm.weight.to(dtype), norm.bias.to(dtype), norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


def _as_product(convolution: nn.ConvTranspose2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Writes a 2 × 2 transposed convolution of stride 2 as a matrix (in × 4·out) and a bias (4·out)."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    return weight.contiguous().to(dtype), cast(Tensor, convolution.bias).repeat(4).to(dtype)


def _as_tokens(image: Tensor) -> Tensor:
    """Makes tokens of an image: 1 × C × H × W → 1 × N × C."""
    return image.flatten(2).transpose(1, 2).contiguous()


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """Splits a weight by heads: (h·d) × C → h × d × C."""
    return weight.view(heads, -1, weight.shape[-1])


def _heads(x: Tensor, heads: int) -> Tensor:
    """Splits tokens by heads: … × n × (h·d) → … × h × n × d."""
    return x.view(*x.shape[:-1], heads, -1).transpose(-3, -2)
