"""Losses of the training, and the true maps for them.

Maps of masks, boundaries and foreground have stride 4, as the masks of SAM's decoder do; seed maps have stride 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from grain_handler.sam.tiny_encoder import OFFSET_UNIT
from training.crops import UNKNOWN


def coverage(labels: Tensor, targets: Tensor) -> Tensor:
    """Returns the share of each 4 × 4 px cell that each prompt's grain covers.

    Args:
        labels: B × S × S, int.
        targets: B × P, int, label of each prompt's grain; 0 and `UNKNOWN` give an empty map.

    Returns:
        B × P × S/4 × S/4, float32, 0…1.
    """
    meant = (labels[:, None] == targets[..., None, None]) & (targets > 0)[..., None, None]
    return F.avg_pool2d(meant.float(), 4)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Returns class-balanced cross-entropy plus dice, per mask.

    Focal + dice, and plain cross-entropy + dice, collapse to empty masks when trained from nothing; the balanced form
    does not.

    Args:
        logits: … × H × W.
        truth: … × H × W, coverage 0…1.

    Returns:
        …, one loss per mask.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten(-2)
    truth, probability = truth.flatten(-2), logits.sigmoid().flatten(-2)
    positive = (entropy * truth).sum(-1) / truth.sum(-1).clamp(min=1)
    # Negatives are averaged over at most eight times the grain's own area. Averaged over the whole crop, a rim of wrong
    # pixels around a small grain would cost almost nothing.
    room = torch.minimum((1 - truth).sum(-1), 8 * truth.sum(-1) + 32)
    negative = (entropy * (1 - truth)).sum(-1) / room.clamp(min=1)
    dice = 1 - (2 * (probability * truth).sum(-1) + 1) / (probability.sum(-1) + truth.sum(-1) + 1)
    return positive + negative + dice


def intersection_over_union(logits: Tensor, truth: Tensor) -> Tensor:
    """Returns the IoU of masks with the truth; 0 where the truth is empty.

    Args:
        logits: … × H × W; the mask is where they exceed 0.
        truth: … × H × W, coverage 0…1; the true mask is where it exceeds 0.5.

    Returns:
        …, the IoU of each mask.
    """
    found, meant = logits > 0, truth > 0.5
    both = (found & meant).flatten(-2).sum(-1)
    either = (found | meant).flatten(-2).sum(-1)
    return both / either.clamp(min=1)


@dataclass(frozen=True)
class DenseTargets:
    """The true maps of boundaries, foreground and seeds.

    Attributes:
        dense: B × 2 × S/4 × S/4, boundary and foreground, 0…1.
        known: B × S/4 × S/4, 0 or 1; 1 where `dense` is known.
        offsets: B × 2 × S/8 × S/8, (x, y) from each cell to the centroid of its grain (of its part inside the crop),
            units of OFFSET_UNIT px.
        sizes: B × S/8 × S/8, base-2 logarithm of the grain's equivalent diameter in units of OFFSET_UNIT px.
        inside: B × S/8 × S/8, bool, where there is a grain.
        weights: B × S/8 × S/8, weight of each cell; smaller in a large grain, which has many cells.
    """

    dense: Tensor
    known: Tensor
    offsets: Tensor
    sizes: Tensor
    inside: Tensor
    weights: Tensor


def dense_targets(labels: Tensor) -> DenseTargets:
    """Makes the true maps for the auxiliary head and the seed map.

    Args:
        labels: B × S × S, int; `UNKNOWN` is neither ground nor grain.
    """
    known = F.avg_pool2d((labels == UNKNOWN).float()[:, None], 4)[:, 0] < 0.5
    size, side = len(labels), labels.shape[-1]
    edge = torch.zeros_like(labels, dtype=torch.float32)
    edge[:, :, :-1] = (labels[:, :, :-1] != labels[:, :, 1:]).float()
    edge[:, :-1] = torch.maximum(edge[:, :-1], (labels[:, :-1] != labels[:, 1:]).float())
    dense = torch.stack([F.max_pool2d(edge[:, None], 4)[:, 0], F.avg_pool2d((labels > 0).float()[:, None], 4)[:, 0]], 1)

    place = torch.arange(side, device=labels.device, dtype=torch.float32) + 0.5
    labels = labels.clamp(min=0)
    count = int(labels.max()) + 1
    index = (labels.long() + count * torch.arange(size, device=labels.device)[:, None, None]).flatten()
    total = torch.bincount(index, minlength=size * count).clamp(min=1)
    x = place[None, None, :].expand(size, side, side)
    y = place[None, :, None].expand(size, side, side)
    centre_x = torch.bincount(index, x.flatten(), size * count) / total
    centre_y = torch.bincount(index, y.flatten(), size * count) / total
    middle = slice(4, None, 8)
    at = index.view(size, side, side)[:, middle, middle]
    cell = torch.arange(side // 8, device=labels.device, dtype=torch.float32) * 8 + 4
    offsets = torch.stack([centre_x[at] - cell[None, None, :], centre_y[at] - cell[None, :, None]], 1) / OFFSET_UNIT
    sizes = torch.log2(torch.sqrt(4 / math.pi * total[at].float()) / OFFSET_UNIT)
    inside = labels[:, middle, middle] > 0
    return DenseTargets(dense, known.float(), offsets.float(), sizes, inside, cell_weights(sizes))


def cell_weights(sizes: Tensor) -> Tensor:
    """Returns the weight of a grain's cells by the logarithm of its size: smaller in a large grain, which has many."""
    return torch.exp2(-sizes).clamp(0.2, 4)


def dense_loss(maps: Tensor, seeds: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of boundary and foreground plus the seed map's loss; a scalar.

    Args:
        maps: B × 2 × S/4 × S/4, logits of the auxiliary head.
        seeds: B × SEED_CHANNELS × S/8 × S/8, seed map.
        labels: B × S × S, int.
    """
    truth = dense_targets(labels)
    weight = torch.tensor([3.0, 1.0], device=maps.device)[:, None, None]
    entropy = F.binary_cross_entropy_with_logits(maps, truth.dense, pos_weight=weight, reduction="none")
    known = truth.known[:, None]
    loss = 2 * (entropy * known).sum() / (2 * known.sum()).clamp(min=1)
    return loss + seed_loss(seeds.float(), truth)


def seed_loss(seeds: Tensor, truth: DenseTargets) -> Tensor:
    """Returns the errors of offsets and of the sizes' logarithms plus the cross-entropy of foreground; a scalar.

    Cells of small grains weigh more, because small grains have few cells and would else count for little.

    Args:
        seeds: B × SEED_CHANNELS × S/8 × S/8, seed map.
        truth: true maps.
    """
    foreground, known = F.avg_pool2d(truth.dense[:, 1:], 2)[:, 0], F.avg_pool2d(truth.known[:, None], 2)[:, 0]
    share = torch.where(truth.inside, truth.weights, 1.0) * known
    entropy = F.binary_cross_entropy_with_logits(seeds[:, 2], foreground, reduction="none")
    loss = (entropy * share).sum() / share.sum().clamp(min=1)
    counts = truth.weights * truth.inside
    errors = (seeds[:, :2] - truth.offsets).abs().sum(1) + 0.5 * (seeds[:, 3] - truth.sizes).abs()
    return loss + (errors * counts).sum() / counts.sum().clamp(min=1)


def said(seeds: Tensor) -> DenseTargets:
    """Turns a teacher's seed map (B × SEED_CHANNELS × S/8 × S/8) into true maps for `seed_loss`, without boundaries."""
    foreground, sizes = seeds[:, 2].sigmoid(), seeds[:, 3]
    fine = F.interpolate(foreground[:, None], scale_factor=2.0, mode="nearest")
    dense = torch.cat([torch.zeros_like(fine), fine], 1)
    weights = cell_weights(sizes)
    return DenseTargets(dense, torch.ones_like(fine[:, 0]), seeds[:, :2], sizes, foreground > 0.5, weights)


def prompt_loss(
    logits: Tensor, scores: Tensor, truth: Tensor, real: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Sequence[Tensor]]:
    """Returns the loss of the mask decoder's answers.

    Mask 0 (the single-mask answer) always learns the shape; of the other three masks, only the best one does. The IoU
    head learns every mask's true IoU, which is 0 on background.

    Args:
        logits: N × 4 × H × W, mask 0 and the three masks.
        scores: N × 4, predicted IoU.
        truth: N × H × W, coverage 0…1.
        real: N, bool, whether the prompt means a grain that is in sight, as `forward.meant` returns it.
        counts: N, bool, whether the truth is known; None: it is known of all.

    Returns:
        The scalar loss, and figures for the log: mean IoU of the best mask, mean IoU of the mask with the best
        predicted IoU, and mean absolute error of the predicted IoU.
    """
    everywhere = truth[:, None].expand_as(logits)
    with torch.no_grad():
        iou = intersection_over_union(logits, everywhere)
    if counts is None:
        counts = torch.ones_like(real)
    real = real & counts
    loss = ((scores.float() - iou).square().mean(1) * counts).sum() / counts.sum().clamp(min=1) * 4
    if real.any():
        each = mask_loss(logits[real], everywhere[real])
        best = each[:, 1:].min(dim=1).values
        loss = loss + best.mean() + 0.3 * each[:, 0].mean()
    with torch.no_grad():
        top = iou[real, 1:].max(1).values.mean()
        chosen = iou[real, 1:].gather(1, scores[real, 1:].float().argmax(1, keepdim=True)).mean()
        shyness = (scores.float() - iou).abs().mean()
    return loss, (top, chosen, shyness)
