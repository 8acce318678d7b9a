"""Models for the GPU whose masks are like a trained SAM's, and an image. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.build_sam import _build_sam
from segment_anything.modeling import Sam
from torch import Tensor, nn

from benchmarks.against_stock.random_sam import random_sam, thresholds
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.crops import crops_of
from grain_handler.sam.grid_prompter import Prompter
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.models import REGISTRY
from grain_handler.sam.tiny_encoder import CODE_STRIDE, OFFSET_UNIT, predicts_seeds
from tools.mar import ROOT

SIDE = 1024
GRAINS = 150
SEED = 0
TRAINED = "sam_tiny"
"""The only model with weights in the repository; the others get random weights."""


def build_small() -> Sam:
    """Builds a small model of ViT-H's kind: two blocks of 64 channels, one with windows, one global; SAM's decoder."""
    sam: Sam = _build_sam(
        encoder_embed_dim=64, encoder_depth=2, encoder_num_heads=2, encoder_global_attn_indexes=[1]
    ).eval()
    return sam


MODELS: dict[str, Callable[[], Sam]] = {**REGISTRY, "small": build_small}
del MODELS["sam_nano"]  # has no weights, and its kind is sam_tiny's


@dataclass(frozen=True)
class Subject:
    """A model on its device, with its image and settings.

    Attributes:
        name: a key of `MODELS`.
        sam: model on its device.
        settings: grid, and thresholds that a third of the model's masks pass.
        passing: share of the masks of all points that pass the thresholds, before NMS.
        image: H × W × 3, uint8, RGB.
        seed_head: replaces the seed head of a model that predicts no seeds; it knows the image's grains.
    """

    name: str
    sam: Sam
    settings: MaskSettings
    passing: float
    image: NDArray[np.uint8]
    seed_head: nn.Module | None


def prepare(name: str, device: torch.device, points: int, grains: int) -> Subject:
    """Makes a model, and sets its thresholds to quantiles of its own scores at the points.

    Args:
        name: a key of `MODELS`.
        device: device of the model.
        points: points along each side of the grid.
        grains: grains in the image.
    """
    image, labels = mosaic(SIDE, grains)
    if name == TRAINED:
        sam = MODELS[name]()
        sam.load_state_dict(torch.load(ROOT / "weights" / f"{name}.pth", map_location="cpu", weights_only=True))
        sam = sam.float().to(device).eval()
    else:
        sam = random_sam(MODELS[name], image, SEED, device)
    generator = MaskGenerator(sam)
    every = MaskSettings(points_per_side=points, pred_iou_thresh=0, stability_score_thresh=0)
    with torch.inference_mode():
        prompter = Prompter(generator.decoder, generator.framing, generator.budget, every)
        (crop,) = crops_of(SIDE, SIDE, layers=0, overlap_ratio=0)
        masks = prompter.ask(crop, generator.embed([image])[0].tokens, every.grids()[0])
    iou, stability = masks.iou.double().cpu().numpy(), masks.stability.double().cpu().numpy()
    least_iou, least_stability = thresholds(iou, stability)
    passing = (iou > least_iou) & (stability >= least_stability)
    settings = MaskSettings(points_per_side=points, pred_iou_thresh=least_iou, stability_score_thresh=least_stability)
    head = None if predicts_seeds(sam.image_encoder) else KnownSeeds(labels).to(device)
    return Subject(name, sam, settings, float(passing.mean()), image, head)


class KnownSeeds(nn.Module):
    """A seed head that returns a label map's seed map for any embedding: random weights would predict random seeds.

    Args:
        labels: label map, side × side; grains are numbered from 0 and fill the image.
    """

    maps: Tensor

    def __init__(self, labels: NDArray[np.int64]) -> None:
        super().__init__()
        areas = np.bincount(labels.ravel())
        rows, columns = np.indices(labels.shape) + 0.5
        middles = [np.bincount(labels.ravel(), along.ravel()) / np.maximum(areas, 1) for along in (columns, rows)]
        cells = np.s_[CODE_STRIDE // 2 :: CODE_STRIDE, CODE_STRIDE // 2 :: CODE_STRIDE]
        here = labels[cells]
        offsets = [middle[here] - along[cells] for middle, along in zip(middles, (columns, rows), strict=True)]
        widths = np.sqrt(4 / np.pi * areas[here]) / OFFSET_UNIT
        maps = np.stack([*(offset / OFFSET_UNIT for offset in offsets), np.full(here.shape, 9.0), np.log2(widths)])
        self.register_buffer("maps", torch.from_numpy(maps.astype(np.float32))[None])

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns the map for each of B embeddings, B × `SEED_CHANNELS` × side/8 × side/8."""
        return self.maps.expand(len(embedding), -1, -1, -1)


def mosaic(side: int, grains: int, seed: int = 2026) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draws touching grains with dark boundaries: pixels, and each pixel's grain. (training.synthetic needs SciPy.)"""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    nearest, second = np.full((2, side, side), np.inf, np.float32)
    owner = np.zeros((side, side), int)
    for number, (top, left) in enumerate(rng.uniform(0, side, (grains, 2))):
        away = np.hypot(y - top, x - left)
        closer = away < nearest
        second = np.where(closer, nearest, np.minimum(second, away))
        nearest, owner = np.where(closer, away, nearest), np.where(closer, number, owner)
    shade = np.where(second - nearest < 4, 0.4, 1.0)[:, :, None]
    pixels = rng.uniform(60, 230, (grains, 3))[owner] * shade + rng.normal(0, 5, (side, side, 1))
    return pixels.clip(0, 255).astype(np.uint8), owner
