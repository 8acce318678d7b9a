"""Finds the thresholds of automatic masks that suit a checkpoint; they go into its model config.

    python -m training.thresholds --checkpoint training/runs/tiny/sam_tiny.pth
    python -m training.thresholds --checkpoint training/runs/rock/sam_tiny.pth --data rock      # on your own images

Masks are made once, with low thresholds, and filtered afterwards: box NMS keeps the mask of higher predicted IoU, so
masks that a higher threshold would drop hardly suppress any that it keeps. Prints mean F1 at IoU 0.5, best first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from tqdm import tqdm

from grain_handler import models, weights
from grain_handler.automask import MaskGenerator
from grain_handler.labels import label_map
from grain_handler.masks import Mask
from grain_handler.options import Options
from grain_handler.precision import resolve
from grain_handler.segment import mask_settings
from tools.mar import ROOT
from training.crops import Pair
from training.folder import read
from training.scoring import score
from training.synthetic import FAMILIES, synthesize

SEED = 700_000
PREDICTED_IOU = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
STABILITY = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def synthetic(count: int) -> list[Pair]:
    """Images of 512 × 512 px that no training has seen, the families in turn."""
    made = [synthesize(np.random.default_rng(SEED + i), FAMILIES[i % len(FAMILIES)]) for i in range(count)]
    return [(each.image, each.labels) for each in made]


def sweep(images: Sequence[Pair], made: Sequence[Sequence[Mask]], options: Options) -> list[tuple[float, float, float]]:
    """Mean F1 for every pair of thresholds, best first: (F1, pred_iou_thresh, stability_score_thresh)."""
    table = []
    for iou, stability in tqdm(list(itertools.product(PREDICTED_IOU, STABILITY)), desc="thresholds", leave=False):
        f1 = []
        for (_, labels), masks in zip(images, made, strict=True):
            kept = [mask for mask in masks if mask.predicted_iou > iou and mask.stability_score >= stability]
            height, width = labels.shape
            found = label_map(kept, height, width, options.min_area, options.max_area_fraction)
            f1.append(score(found.labels, labels).f1)
        table.append((float(np.mean(f1)), iou, stability))
    return sorted(table, reverse=True)


def main() -> None:
    """Makes the masks, sweeps, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"))
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default: %(default)s)")
    add("--data", type=Path, help="folder of annotated images (default: synthetic ones)")
    add("--count", type=int, default=10, help="synthetic images (default: %(default)s)")
    arguments = parser.parse_args()

    config = yaml.safe_load((ROOT / "config" / f"{arguments.model}.yaml").read_text())["grainserve"]
    low = {"pred_iou_thresh": PREDICTED_IOU[0], "stability_score_thresh": STABILITY[0]}
    options = Options(**config["defaults"] | low)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sam = models.load(arguments.model, weights.fetch(arguments.checkpoint, Path()), device)
    generator = MaskGenerator(sam, resolve(config["precision"], device))
    images = (
        [(each.image, each.labels) for each in read(arguments.data)] if arguments.data else synthetic(arguments.count)
    )
    made = []
    for image, labels in tqdm(images, desc="masks"):
        height, width = labels.shape
        made.append(generator.generate(image, mask_settings(options, height, width)))
    for f1, iou, stability in sweep(images, made, options)[:12]:
        print(f"F1 {f1:.3f}  pred_iou_thresh {iou:.2f}  stability_score_thresh {stability:.2f}")


if __name__ == "__main__":
    main()
