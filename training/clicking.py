"""Answers prompts, clicks where the answers are wrong, and answers again, with gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything.modeling import Sam
from torch import Tensor

from training.crops import Batch
from training.forward import embed, meant
from training.losses import intersection_over_union


@dataclass(frozen=True)
class Asked:
    """Prompts of one form about objects whose outlines are known.

    Attributes:
        image: N × C × h × w, the embedding that each prompt sees.
        place: N × C × h × w, the position of each token in the frame.
        origin: N × 2, (x, y) of each crop in the frame, px.
        boxes: N × 4, boxes in the frame, px; None: the prompts are points.
        points: N × k × 2, (x, y) in the frame, px; k is 0 for a box.
        labels: N × k, 1 inside, 0 outside.
        truth: N × 4h × 4w, the object's share of each 4 × 4 px, 0…1.
    """

    image: Tensor
    place: Tensor
    origin: Tensor
    boxes: Tensor | None
    points: Tensor
    labels: Tensor
    truth: Tensor


def asked(sam: Sam, batch: Batch) -> Iterator[Asked]:
    """Yields the batch's points and its boxes, without those whose object is unknown or out of sight."""
    crops, prompts = batch.is_box.shape
    with torch.no_grad():
        embedding = embed(sam, batch)[0]
        frame = sam.prompt_encoder.get_dense_pe()[0]
    height, width = embedding.shape[-2:]
    place = torch.stack([frame[:, y : y + height, x : x + width] for x, y in (batch.origins / 16).long().tolist()])
    truth, there, known = meant(batch)
    corners = (batch.prompts.view(crops, prompts, 2, 2) + batch.origins[:, None, None]).flatten(0, 1)
    crop = torch.arange(crops, device=embedding.device).repeat_interleave(prompts)
    for boxed in (False, True):
        chosen = (batch.is_box.flatten() == boxed) & there & known
        if not chosen.any():
            continue
        of = crop[chosen]
        first = corners[chosen]
        points = first[:, : 0 if boxed else 1]
        yield Asked(
            embedding[of],
            place[of],
            batch.origins[of],
            first.flatten(1) if boxed else None,
            points,
            torch.ones(points.shape[:2], device=points.device),
            truth[chosen],
        )


def answer(sam: Sam, of: Asked, points: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Runs SAM's prompt encoder and mask decoder.

    Args:
        sam: model.
        of: prompts with their images.
        points: N × k × 2, all clicks so far, px in the frame.
        labels: N × k.
        mask: N × 4h × 4w, logits to refine; None: there are none.

    Returns:
        Logits (N × 4 × 4h × 4w) and predicted IoU (N × 4) of the single mask and of the three.
    """
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    clicks = (points, labels) if points.shape[1] else None
    sparse = encoder(points=clicks, boxes=of.boxes, masks=None)[0]
    dense = encoder.no_mask_embed.weight.view(1, -1, 1, 1) if mask is None else encoder.mask_downscaling(mask[:, None])
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    tokens, image = decoder.transformer(of.image + dense, of.place, tokens)
    upscaled = decoder.output_upscaling(image.transpose(1, 2).unflatten(2, of.image.shape[-2:]))
    heads = decoder.output_hypernetworks_mlps
    weights = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    return logits.float(), decoder.iou_prediction_head(tokens[:, 0]).float()


def served(logits: Tensor, scores: Tensor, single: bool) -> Tensor:
    """Returns the mask that a person sees, N × 4h × 4w: of a single point the best of the three, else the single mask.

    Args:
        logits: N × 4 × 4h × 4w.
        scores: predicted IoU, N × 4.
        single: whether a single point was asked.
    """
    best = 1 + scores[:, 1:].argmax(1) if single else torch.zeros(len(scores), dtype=torch.long)
    return logits[torch.arange(len(scores)), best]


def click(wrong: Tensor, truth: Tensor, origin: Tensor, choose: Chooser) -> tuple[Tensor, Tensor]:
    """Puts a click where each mask is wrong; where it is right everywhere, inside the object.

    Args:
        wrong: N × 4h × 4w, bool.
        truth: N × 4h × 4w, 0…1.
        origin: N × 2, px.
        choose: chooses a cell of a map.

    Returns:
        Positions (N × 1 × 2, px in the frame) and labels (N × 1).
    """
    places, labels = [], []
    for bad, share in zip(wrong.cpu().numpy(), truth.cpu().numpy(), strict=True):
        inside = share > 0.5
        y, x = choose(bad if bad.any() else inside if inside.any() else share > 0)
        places.append((4 * x + 2.0, 4 * y + 2.0))
        labels.append(float(inside[y, x]))
    made = torch.tensor(places, device=origin.device) + origin
    return made[:, None], torch.tensor(labels, device=origin.device)[:, None]


class Chooser:
    """A choice of the cell to click.

    Args:
        rng: generator of a uniform choice; None: the middle of the largest wrong region, as in evaluations of
            interactive segmentation (Sofiiuk et al. 2022, RITM).
    """

    def __init__(self, rng: Generator | None = None) -> None:
        self.rng = rng

    def __call__(self, cells: NDArray[np.bool_]) -> tuple[int, int]:
        """Returns row and column of a true cell."""
        if self.rng is not None:
            rows, columns = np.nonzero(cells)
            drawn = int(self.rng.integers(len(rows)))
            return int(rows[drawn]), int(columns[drawn])
        regions, count = ndimage.label(cells)
        sizes = ndimage.sum_labels(cells, regions, range(1, count + 1))
        largest = np.pad(regions == 1 + int(np.argmax(sizes)), 1)
        row, column = np.unravel_index(int(ndimage.distance_transform_edt(largest).argmax()), largest.shape)
        return int(row) - 1, int(column) - 1


def rounds(sam: Sam, of: Asked, count: int, refine: bool, choose: Chooser) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Answers prompts, clicks where the answers are wrong, and answers again.

    Args:
        sam: model.
        of: prompts.
        count: answers to each prompt.
        refine: whether the last answer is given back as a mask.
        choose: chooses where to click.

    Yields:
        After each answer: logits (N × 4 × 4h × 4w) and predicted IoU (N × 4) of the single mask and of the three, and
        the IoU with the truth of the mask that a person sees (N).
    """
    points, labels, mask = of.points, of.labels, None
    for _ in range(count):
        logits, scores = answer(sam, of, points, labels, mask)
        single = of.boxes is None and points.shape[1] == 1
        shown = served(logits, scores, single).detach()
        yield logits, scores, intersection_over_union(shown, of.truth)
        more, label = click((shown > 0) != (of.truth > 0.5), of.truth, of.origin, choose)
        points, labels = torch.cat([points, more], 1), torch.cat([labels, label], 1)
        mask = shown if refine else None
