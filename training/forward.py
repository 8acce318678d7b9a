"""SAM's forward pass over several crops at once, with gradients. SAM's own takes one image and gives no gradients."""

from __future__ import annotations

import dataclasses

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from grain_handler.sam.tiny_encoder import TinyImageEncoder, predicts_seeds
from training.crops import UNKNOWN, Batch
from training.losses import coverage


def embed(sam: Sam, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Encodes the crops of a batch.

    Args:
        sam: model.
        batch: crops.

    Returns:
        Image embeddings (B × C × S/16 × S/16), and the seed map (B × SEED_CHANNELS × S/8 × S/8), or None if the model
        predicts no seeds.
    """
    images = (batch.images.float() - sam.pixel_mean) / sam.pixel_std
    if isinstance(sam.image_encoder, TinyImageEncoder):
        embedding, maps = sam.image_encoder.encode(images, batch.origins)
        return embedding, maps if predicts_seeds(sam.image_encoder) else None
    return sam.image_encoder(images), None


def windows(batch: Batch, side: int) -> Tensor:
    """Places a window of the embedding around each prompt, as seeds are decoded.

    Args:
        batch: crops with their prompts.
        side: side of the windows, tokens; at most that of the crops.

    Returns:
        First column and row of each window in its crop, tokens; B × P × 2, int64, multiples of 4.
    """
    middle = batch.prompts.unflatten(2, (2, 2)).mean(2) / 16
    tokens = batch.images.shape[-1] // 16
    return (4 * torch.round((middle - side / 2) / 4)).clamp(0, tokens - side).long()


def cut(maps: Tensor, places: Tensor, side: int) -> Tensor:
    """Cuts a window for each prompt.

    Args:
        maps: B × C × H × W, shared by all prompts of a crop, or B × P × 1 × H × W, a map for each prompt.
        places: B × P × 2, first column and row of each window, cells of the maps.
        side: side of the windows, cells.

    Returns:
        B·P × C × side × side.
    """
    pieces = []
    for crop, corners in zip(maps, places.tolist(), strict=True):
        for number, (x, y) in enumerate(corners):
            of = crop[number] if crop.dim() == 4 else crop
            pieces.append(of[:, y : y + side, x : x + side])
    return torch.stack(pieces)


def decode(sam: Sam, embedding: Tensor, batch: Batch, side: int | None = None) -> tuple[Tensor, Tensor]:
    """Runs SAM's prompt encoder and mask decoder on the prompts of several crops at once.

    SAM's own `MaskDecoder.predict_masks` takes one image; the arithmetic is the same.

    Args:
        sam: model.
        embedding: B × C × h × w.
        batch: crops with their prompts and places in the frame.
        side: side of the window that a prompt sees, tokens, see `windows`; None: it sees the whole crop.

    Returns:
        Logits of masks 0…3 (B·P × 4 × 4·rows × 4·columns, with the rows and columns of tokens that the prompt sees) and
        predicted IoU (B·P × 4).
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
    if side is None or side == height:
        image, place = image.repeat_interleave(prompts, 0), place.repeat_interleave(prompts, 0)
    else:
        corner = windows(batch, side)
        image, place = cut(image, corner, side), cut(place, corner, side)
        height = width = side

    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    tokens, image = decoder.transformer(image, place, tokens)
    upscaled = decoder.output_upscaling(image.transpose(1, 2).unflatten(2, (height, width)))
    heads = decoder.output_hypernetworks_mlps
    weights = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    return logits.float(), decoder.iou_prediction_head(tokens[:, 0]).float()


def meant(batch: Batch, side: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the true mask of each prompt, cut to the window that the prompt sees.

    Args:
        batch: crops with their prompts.
        side: side of the window that a prompt sees, tokens; None: it sees the whole crop.

    Returns:
        The grain's share of each 4 × 4 px (B·P × h × w); whether there is a grain (B·P, bool); and whether the truth is
        known and in sight (B·P, bool).
    """
    whole = coverage(batch.labels, batch.targets)
    area, truth = whole.flatten(2).sum(2).flatten(), whole.flatten(0, 1)
    if side is not None and 4 * side != whole.shape[-1]:
        truth = cut(whole[:, :, None], 4 * windows(batch, side), 4 * side)[:, 0]
    seen = truth.flatten(1).sum(1)
    return truth, seen >= 4, (batch.targets.flatten() != UNKNOWN) & (seen >= 0.9 * area)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Returns the batch with every tensor on the device."""
    moved = {f.name: getattr(batch, f.name).to(device, non_blocking=True) for f in dataclasses.fields(batch)}
    return Batch(**moved)
