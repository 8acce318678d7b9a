"""SAM's forward pass over several crops at once, with gradients; SAM's own takes one image and none."""

from __future__ import annotations

import dataclasses

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from grain_handler.tiny_encoder import TinyImageEncoder
from training.crops import Batch


def embed(sam: Sam, batch: Batch) -> Tensor:
    """Image embeddings of a batch: B × C × S/16 × S/16."""
    images = (batch.images.float() - sam.pixel_mean) / sam.pixel_std
    if isinstance(sam.image_encoder, TinyImageEncoder):
        return sam.image_encoder.encode(images, batch.origins)[0]
    embedding: Tensor = sam.image_encoder(images)
    return embedding


def decode(sam: Sam, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Runs SAM's prompt encoder and mask decoder on the prompts of several crops at once.

    SAM's own `MaskDecoder.predict_masks` takes one image; the arithmetic is the same.

    Args:
        sam: The model.
        embedding: B × C × h × w.
        batch: The crops' prompts and places in the frame.

    Returns:
        Logits of mask 0…3 (B·P × 4 × 4h × 4w) and predicted IoU (B·P × 4).
    """
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    crops, prompts = batch.is_box.shape
    height, width = embedding.shape[-2:]
    corners = (batch.prompts.view(crops, prompts, 2, 2) + batch.origins[:, None, None]).flatten(0, 1)
    is_box = batch.is_box.flatten()
    sparse = torch.empty(len(corners), 2, embedding.shape[1], device=embedding.device)
    points = corners[~is_box][:, :1]
    ones = torch.ones(points.shape[:2], device=points.device)
    sparse[~is_box] = encoder(points=(points, ones), boxes=None, masks=None)[0].float()
    if is_box.any():
        sparse[is_box] = encoder(points=None, boxes=corners[is_box].flatten(1), masks=None)[0].float()

    frame = encoder.get_dense_pe()[0]
    cells = (batch.origins / 16).long().tolist()
    place = torch.stack([frame[:, y : y + height, x : x + width] for x, y in cells])
    image = embedding + encoder.no_mask_embed.weight.view(1, -1, 1, 1)
    image, place = image.repeat_interleave(prompts, 0), place.repeat_interleave(prompts, 0)

    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    tokens, image = decoder.transformer(image, place, tokens)
    upscaled = decoder.output_upscaling(image.transpose(1, 2).unflatten(2, (height, width)))
    heads = decoder.output_hypernetworks_mlps
    weights = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    return logits.float(), decoder.iou_prediction_head(tokens[:, 0]).float()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Moves every tensor of the batch."""
    moved = {f.name: getattr(batch, f.name).to(device, non_blocking=True) for f in dataclasses.fields(batch)}
    return Batch(**moved)
