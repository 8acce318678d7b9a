"""SAMs for tests: the small trained one, perturbed copies of it, and official shapes with random weights."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn
from torch.nn import functional as F

from grain_handler.sam.models import load
from grain_handler.storage.weights import Checkpoint

WEIGHTS = Path(__file__).parents[3] / "weights" / "sam_tiny.pth"

VITS = {
    "sam_vit_b": {"embed_dim": 768, "num_heads": 12},
    "sam_vit_l": {"embed_dim": 1024, "num_heads": 16},
    "sam_vit_h": {"embed_dim": 1280, "num_heads": 16},
}
"""Widths of the published encoders."""


class DecoderShape(NamedTuple):
    """Numbers of channels, attention heads, MLP channels and layers of a mask decoder."""

    width: int
    heads: int
    mlp: int
    depth: int = 2


SMALL, TINY, PUBLISHED = DecoderShape(32, 2, 64), DecoderShape(128, 8, 512), DecoderShape(256, 8, 2048)


@cache
def trained(side: int = 1024) -> Sam:
    """Returns `sam_tiny` with its weights and a frame of `side` px: stock's time grows with the frame's area."""
    sam = load("sam_tiny", Checkpoint(WEIGHTS, str(WEIGHTS), "1", ""), torch.device("cpu"))
    sam.image_encoder.img_size = side
    sam.prompt_encoder.image_embedding_size = (side // 16, side // 16)
    sam.prompt_encoder.input_image_size = (side, side)
    return sam


@torch.no_grad()
def shaken(seed: int, amount: float, side: int = 256) -> Sam:
    """Returns the trained model with noise on every parameter after the encoder, which gives other sensible masks.

    Args:
        seed: random seed of the noise.
        amount: standard deviation of the noise, relative to the parameter's; masks survive 0.6.
        side: side of the frame, px.
    """
    sam = copy.deepcopy(trained(side))
    generator = torch.Generator().manual_seed(seed)
    for module in (sam.prompt_encoder, sam.mask_decoder):
        for parameter in module.parameters():
            spread = parameter.std() if parameter.numel() > 1 else parameter.abs()
            parameter.add_(amount * (spread + 0.03) * torch.randn(parameter.shape, generator=generator))
    return sam


def random_vit(seed: int, side: int = 128, out_chans: int = 32, **shape: Any) -> ImageEncoderViT:
    """Makes a vision transformer with all parameters random, including biases, norms and positions."""
    layout = {"embed_dim": 32, "depth": 3, "num_heads": 2, "window_size": 3, "global_attn_indexes": (1,)} | shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # initial weights have no generator of their own
        vit = ImageEncoderViT(img_size=side, out_chans=out_chans, use_rel_pos=True, **layout)
    _randomise(vit, torch.Generator().manual_seed(seed))
    return vit.eval()


@torch.no_grad()
def random_sam(seed: int, side: int = 128, decoder: DecoderShape = SMALL, vit: ImageEncoderViT | None = None) -> Sam:
    """Makes a SAM with all parameters random, but with masks near its prompts.

    Random attention looks everywhere at once, which gives every prompt the same mask. Here queries and keys of the
    cross attentions share one projection, so a prompt attends to the image around it by position. The last layers are
    scaled so that an eighth of the frame is mask and predicted IoUs are 0.8 ± 0.1.

    Args:
        seed: random seed of the weights.
        side: side of the frame, px.
        decoder: shape of the decoder.
        vit: image encoder with as many output channels as the decoder; None makes a small one.
    """
    generator = torch.Generator().manual_seed(seed)
    cells, width = side // 16, decoder.width
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # as above; the random Fourier features, too
        sam = Sam(
            vit or random_vit(seed, side, width),
            PromptEncoder(width, (cells, cells), (side, side), mask_in_chans=16),
            MaskDecoder(
                transformer_dim=width,
                transformer=TwoWayTransformer(decoder.depth, width, decoder.heads, decoder.mlp),
                iou_head_hidden_dim=width,
            ),
        ).eval()
    _randomise(sam.prompt_encoder, generator)
    _randomise(sam.mask_decoder, generator)
    for layer in sam.mask_decoder.transformer.layers:
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
            shape = attention.q_proj.weight.shape
            attention.q_proj.weight.copy_(4 * torch.randn(shape, generator=generator) / width**0.5)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
        layer.cross_attn_image_to_token.out_proj.weight *= 4
    for convolution in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
        weight = convolution.weight
        weight.copy_(3 * weight.mean((2, 3), keepdim=True) + 0.3 * weight)  # neighbours alike: blobs, not specks
    _calibrate(sam, generator)
    return sam


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draws norms around one, biases and positions around zero; matrices keep their initial size."""
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter.data = 0.3 * noise + (1.0 if name.endswith("weight") else 0.0)
        elif "rel_pos" in name or "pos_embed" in name:
            parameter.data = 0.5 * noise
        elif "token" in name.split(".")[0] or "embed" in name.split(".")[-2:][0]:
            parameter.data = noise if "patch" not in name else 0.03 * noise
        else:
            parameter.data = noise * parameter.data.std(correction=0)


def _calibrate(sam: Sam, generator: torch.Generator) -> None:
    """Scales the last layers by their outputs at 25 points of a smooth random image."""
    side, n, decoder = sam.image_encoder.img_size, 5, sam.mask_decoder
    image = F.interpolate(255 * torch.rand(1, 3, 8, 8, generator=generator), size=side, mode="bicubic")
    line = (torch.arange(n) + 0.5) / n * side
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(-1, 1, 2)
    prompts, dense = sam.prompt_encoder((points, torch.ones(n * n, 1)), None, None)
    upscaled: list[torch.Tensor] = []
    hook = decoder.output_upscaling.register_forward_hook(lambda _module, _inputs, output: upscaled.append(output))
    embedding = sam.image_encoder(sam.preprocess(image))
    logits, iou = decoder(embedding, sam.prompt_encoder.get_dense_pe(), prompts, dense, multimask_output=True)
    hook.remove()
    typical = upscaled[0].mean((0, 2, 3))
    x, y = (points[:, 0] / 4).long().unbind(1)
    for i in range(3):
        last = decoder.output_hypernetworks_mlps[i + 1].layers[-1]
        masks = logits[:, i]
        here = masks[torch.arange(n * n), y, x].mean() - masks.mean()
        scale = 16 / masks.std() * here.sign()
        last.weight *= scale
        last.bias *= scale
        last.bias -= (masks * scale).flatten().quantile(0.88) * typical / typical.dot(typical)
    last, scale = decoder.iou_prediction_head.layers[-1], 0.1 / iou.std(0)
    last.weight[1:] *= scale[:, None]
    last.bias[1:] = 0.8 + scale * (last.bias[1:] - iou.mean(0))
