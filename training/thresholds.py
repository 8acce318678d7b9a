"""Finds the thresholds of automatic masks that suit a checkpoint, for its model config.

    python -m training.thresholds --checkpoint training/runs/tiny/sam_tiny.pth
    python -m training.thresholds --checkpoint training/runs/rock/sam_tiny.pth --data rock      # on your own images

Masks are made once, with low thresholds, and filtered afterwards. The model is prompted at all points of the grid, even
if its config says `adaptive`: adaptive points leave out areas under masks well over the thresholds, so low thresholds
would hide grains that higher ones find. Box NMS keeps the mask of higher predicted IoU, so masks that a higher
threshold drops hardly suppress masks that it keeps. Prints mean F1 at IoU 0.5, best first.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from grain_handler.masks import Mask
from grain_handler.sam import models
from grain_handler.segment import mask_settings, settle
from grain_handler.wire.options import Options
from tools.mar import ROOT
from tools.problem import main_exit
from training.crops import Pair
from training.folder import read
from training.scoring import score
from training.serving import Served
from training.synthetic import TUNING_SEED, in_turn

PREDICTED_IOU = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
STABILITY = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LOW = {"points": "grid", "pred_iou_thresh": PREDICTED_IOU[0], "stability_score_thresh": STABILITY[0]}
"""Options with which every mask is made that any of the thresholds keeps."""


def sweep(images: Sequence[Pair], made: Sequence[Sequence[Mask]], options: Options) -> list[tuple[float, float, float]]:
    """Returns the mean F1 for every pair of thresholds, best first.

    Args:
        images: images with their true labels.
        made: masks of each image, made with the options `LOW`.
        options: options of the segmentation.

    Returns:
        Tuples (F1, pred_iou_thresh, stability_score_thresh).
    """
    table = []
    for iou, stability in tqdm(list(itertools.product(PREDICTED_IOU, STABILITY)), desc="thresholds", leave=False):
        f1 = []
        for (_, labels), masks in zip(images, made, strict=True):
            kept = [mask for mask in masks if mask.predicted_iou > iou and mask.stability_score >= stability]
            found = settle(kept, options, *labels.shape)
            f1.append(score(found.labels, labels).f1)
        table.append((float(np.mean(f1)), iou, stability))
    return sorted(table, reverse=True)


def main(given: Sequence[str] | None = None) -> int:
    """Makes the masks, tries all thresholds and prints the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"))
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default: %(default)s)")
    add("--data", type=Path, help="folder of annotated images (default: synthetic ones)")
    add("--count", type=int, default=10, help="synthetic images (default: %(default)s)")
    arguments = parser.parse_args(given)

    found = read(arguments.data) if arguments.data else in_turn(TUNING_SEED, arguments.count)
    images = [(each.image, each.labels) for each in found]
    served = Served.read(arguments.model, arguments.checkpoint)
    options = served.options.model_copy(update=LOW)
    generator = served.generator()
    made = [
        generator.generate(image, mask_settings(options, *labels.shape)) for image, labels in tqdm(images, desc="masks")
    ]
    for f1, iou, stability in sweep(images, made, options)[:12]:
        print(f"F1 {f1:.3f}  pred_iou_thresh {iou:.2f}  stability_score_thresh {stability:.2f}")
    return 0


if __name__ == "__main__":
    main_exit(main)
