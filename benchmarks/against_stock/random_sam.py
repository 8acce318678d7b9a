"""A SAM of random numbers whose masks are not noise.

A closed network has no access to public weights, and time and memory do not depend on them. But the work after the
decoder does depend on its masks. With torch's own initialisation the logits differ by less than 0.1 from pixel to
pixel: every mask is unstable, covers the frame or nothing, and NMS leaves one of a thousand. So this module sets four
things; the image encoder and the rest of the decoder stay random:

1. The two-way transformer's tokens keep apart (self-attention is sharper, so that it does not average them).
2. In its last attention from image to prompt, each head takes seven of the positional encoding's own waves, so that
   pixels near a point attend to it and others do not: a mask lies about its point, and the image gives it its shape.
3. The hypernetworks' last biases are fitted by linear regression: the three masks' logits resemble discs of three
   sizes about their point. Their random weights stay, scaled, and vary the masks from prompt to prompt.
4. The IoU head's last layer is scaled so that its predictions scatter about 0.8.

The fit costs one pass of the encoder. Fidelity measured with such a model says how errors grow in these layers, not
what a trained SAM would lose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import MaskDecoder, Sam
from torch import Generator, Tensor
from torch.nn import functional as F

HEADS = 8
WAVES = 7
"""Number of waves by which a head compares positions: their sines and cosines fill 14 of its 16 channels."""

WAVE_RANGE = (0.8, 2.5)
"""Their frequencies, cycles in half a frame: attention reaches 30 to 60 px from the point."""

SHARPNESS, REACH = 3.0, 5.0
"""A pixel attends to the point if the sum of the seven cosines exceeds `REACH`; `SHARPNESS` is how abruptly."""

RADII = (35.0, 55.0, 90.0)
"""Radii of the three masks' discs, px of the 1024-px frame."""

LOGIT_STD, LOGIT_NOISE = 10.0, 1.5
"""Scatter of the fitted logits, and of the part that the hypernetworks' random weights add, as in trained SAMs."""

IOU_MEAN, IOU_STD = 0.8, 0.08


KEPT = 0.35
"""Share of a random model's masks that pass both filters, as with a trained SAM on a busy image."""


@torch.no_grad()
def random_sam(
    build: Callable[[], Sam], image: NDArray[np.uint8], seed: int = 0, device: torch.device | str = "cpu"
) -> Sam:
    """Makes a model of the official layout; the module's docstring says how.

    Args:
        build: makes a SAM with a vision transformer, such as `build_sam_vit_h`.
        image: image for the fit, H × W × 3, uint8, RGB; 1024 px on the longer side.
        seed: random seed of the weights (the fit also depends on the kind of device).
        device: device for the encoder's pass of the fit.

    Returns:
        The model on `device`, in evaluation mode, single precision.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = build()
    rng = torch.Generator().manual_seed(seed + 1)
    for key, value in sam.image_encoder.named_parameters():
        if key.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):  # zero at initialisation, but never after training
            value.copy_(0.02 * torch.randn(value.shape, generator=rng))
    _keep_tokens_apart(sam)
    _attend_by_position(sam, rng)
    _smooth_upscaling(sam)
    sam.to(device).eval()
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    _fit(sam, predictor.features)
    return sam


def thresholds(iou: NDArray[np.float64], stability: NDArray[np.float64]) -> tuple[float, float]:
    """Returns thresholds that let `KEPT` of a model's masks pass; each threshold alone rejects equally many.

    Args:
        iou: predicted IoU of all masks.
        stability: their stability scores; NaN where a mask is empty.

    Returns:
        The thresholds of predicted IoU and of stability.
    """
    fail = 1 - KEPT**0.5
    least_iou = float(np.quantile(iou, fail))
    return round(least_iou, 4), round(float(np.quantile(np.nan_to_num(stability)[iou > least_iou], fail)), 4)


def _keep_tokens_apart(sam: Sam) -> None:
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    first, last = decoder.transformer.layers
    first.self_attn.q_proj.weight.mul_(4)
    first.self_attn.k_proj.weight.copy_(first.self_attn.q_proj.weight)
    for embedding in (decoder.iou_token, decoder.mask_tokens, prompts.not_a_point_embed, *prompts.point_embeddings):
        embedding.weight.mul_(0.3)
    # Content weighs less than position where the last attention from image to prompt adds the two.
    first.norm4.weight.mul_(0.3)
    last.norm3.weight.mul_(0.3)
    last.cross_attn_image_to_token.out_proj.weight.mul_(8)


def _attend_by_position(sam: Sam, rng: Generator) -> None:
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    attention = decoder.transformer.layers[1].cross_attn_image_to_token
    channels = attention.q_proj.out_features // HEADS
    # Pixels near no point attend to a direction that points lack: the rival which a point must exceed.
    rival = F.normalize(torch.randn(attention.k_proj.in_features, generator=rng), dim=0)
    for embedding in (decoder.iou_token, decoder.mask_tokens, prompts.not_a_point_embed):
        embedding.weight.add_(torch.outer(4 - embedding.weight @ rival, rival))
    for embedding in prompts.point_embeddings:
        embedding.weight.sub_(torch.outer(embedding.weight @ rival, rival))
    frequencies = prompts.pe_layer.positional_encoding_gaussian_matrix.norm(dim=0)
    usable = torch.nonzero((frequencies > WAVE_RANGE[0]) & (frequencies < WAVE_RANGE[1]))[:, 0]
    for layer in (attention.q_proj, attention.k_proj):
        layer.weight.zero_()
        layer.bias.zero_()
    scale = SHARPNESS * channels**0.5  # attention divides by the root
    for head in range(HEADS):
        start = head * channels
        for i, wave in enumerate(usable[torch.randperm(len(usable), generator=rng)[:WAVES]].tolist()):
            for row, channel in ((start + i, wave), (start + WAVES + i, wave + len(frequencies))):  # sine, cosine
                attention.q_proj.weight[row, channel] = scale
                attention.k_proj.weight[row, channel] = 1
        attention.q_proj.bias[start + channels - 1] = scale * REACH / 4
        attention.k_proj.weight[start + channels - 1] = rival


def _smooth_upscaling(sam: Sam) -> None:
    """Makes neighbouring pixels' kernels resemble each other, and the last channel constant: a mask's offset."""
    first, _, _, second, _ = sam.mask_decoder.output_upscaling
    for layer in (first, second):
        mean = layer.weight.mean((2, 3), keepdim=True)
        layer.weight.copy_(2 * mean + 0.1 * (layer.weight - mean))
    second.weight[:, -1] = 0
    second.bias[-1] = 1


def _fit(sam: Sam, features: Tensor) -> None:
    """Fits hypernetworks and IoU head on a grid of points (steps 3 and 4)."""
    decoder, device = sam.mask_decoder, features.device
    along = torch.linspace(128, 896, 4)
    points = torch.cartesian_prod(along, along).flip(1).to(device)
    with _listening(decoder) as heard:
        sparse, dense = sam.prompt_encoder(
            points=(points[:, None], torch.ones(len(points), 1, device=device)), boxes=None, masks=None
        )
        decoder(
            image_embeddings=features,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    maps = heard["upscaled"][:, :, ::2, ::2]  # points × 32 × 128 × 128: one of four pixels is enough
    x = 8 * torch.arange(maps.shape[-1], device=device) + 2
    away = torch.stack([((x - px) ** 2 + ((x - py) ** 2)[:, None]).sqrt() for px, py in points])
    samples = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    for radius, number in zip(RADII, (1, 2, 3), strict=True):
        bias = _regress(samples, (1 - away / radius).clamp(-1, 1).flatten().double())
        last = decoder.output_hypernetworks_mlps[number].layers[-1]
        varied = torch.einsum("pc,pchw->phw", heard[number] @ last.weight.T, maps)
        last.weight.mul_(LOGIT_NOISE / varied.std())
        last.bias.copy_(bias)
    last = decoder.iou_prediction_head.layers[-1]
    predicted = heard["iou"] @ last.weight.T
    last.weight.mul_((IOU_STD / predicted.std(0))[:, None])
    last.bias.copy_(IOU_MEAN - (heard["iou"] @ last.weight.T).mean(0))


def _regress(samples: Tensor, target: Tensor) -> Tensor:
    """Returns weights of the upscaled channels (32): their scaled sum fits the target, positive on as many pixels."""
    # The disc's few pixels together weigh as much as the many others.
    inside = target > -1
    weight = torch.where(inside, (~inside).sum() / inside.sum(), 1.0)[:, None]
    ridge = 1e-4 * len(samples) * torch.eye(samples.shape[1], device=samples.device)
    solution = torch.linalg.solve(samples.T @ (weight * samples) + ridge, (weight * samples).T @ target[:, None])[:, 0]
    fitted = samples @ solution
    scale = LOGIT_STD / fitted.std()
    positive = int((target > 0).sum())
    solution[-1] -= torch.topk(fitted, positive).values[-1] / samples[0, -1]
    weights: Tensor = (scale * solution).float()
    return weights


@contextmanager
def _listening(decoder: MaskDecoder) -> Iterator[dict[Any, Tensor]]:
    """Records the inputs of the last layers: the upscaled map, and hidden layers of the hypernetworks and IoU head."""
    heard: dict[Any, Tensor] = {}

    def hear(key: Any) -> Any:
        return lambda module, inputs: heard.update({key: inputs[0]})

    hooks = [
        decoder.output_upscaling.register_forward_hook(lambda module, inputs, out: heard.update(upscaled=out)),
        decoder.iou_prediction_head.layers[-1].register_forward_pre_hook(hear("iou")),
        *(
            mlp.layers[-1].register_forward_pre_hook(hear(number))
            for number, mlp in enumerate(decoder.output_hypernetworks_mlps)
        ),
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
