r"""Calibrates the predicted IoU of a sam_tiny or sam_nano, and shows how well it then agrees with the true IoU.

    python -m training.calibrate --checkpoint training/runs/rock/sam_tiny.pth --out rock.pth
    python -m training.calibrate --checkpoint training/runs/v2/sam_tiny.pth --out weights/sam_tiny.pth \
        --figures benchmarks/results/calibration.json      # the committed checkpoint and its figures

Prompts the model on crops of synthetic images that no training has seen, in windows as for seeds. Then fits predicted
IoU = slope × IoU head + shift to the true IoU by least squares, over masks for which the head predicts more than
--floor (masks below are never shown). The line goes into the head's last layer. Neither the masks nor their order
change, and the thresholds can be read as IoU. Prints predicted and true IoU, before and after.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import nn
from tqdm import tqdm

from grain_handler.sam.tiny_encoder import predicts_seeds
from tools.problem import main_exit
from training.checkpoints import fetch, load, save_checkpoint
from training.crops import CropStream
from training.forward import decode, embed, meant
from training.losses import intersection_over_union

SEED = 720_000
SIDE = 16
"""Side of the window that a prompt sees, tokens: that of nearly all seeds. Without seeds, it sees the whole crop."""
BINS = np.linspace(0, 1, 11)


@torch.no_grad()
def said_and_true(sam: Sam, seed: int, batches: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the predicted and the true IoU of masks 1 to 3 of every prompt whose grain is in sight.

    Args:
        sam: model on the CPU.
        seed: seed of the crops.
        batches: batches of crops to ask about.

    Returns:
        Two arrays of the same length.
    """
    stream = iter(CropStream(seed, crops=8, crops_per_image=16))
    side = SIDE if predicts_seeds(sam.image_encoder) else None
    said, true = [], []
    for _ in tqdm(range(batches), desc="asking", leave=False):
        batch = next(stream)
        logits, scores = decode(sam, embed(sam, batch)[0], batch, side)
        truth, _, known = meant(batch, side)
        iou = intersection_over_union(logits, truth[:, None].expand_as(logits))
        said.append(scores[known, 1:].flatten().double().numpy())
        true.append(iou[known, 1:].flatten().double().numpy())
    return np.concatenate(said), np.concatenate(true)


def fit(said: NDArray[np.float64], true: NDArray[np.float64], floor: float) -> tuple[float, float]:
    """Fits the line from predicted to true IoU; returns its slope and shift.

    Args:
        said: predicted IoU.
        true: true IoU, in the same order.
        floor: predicted IoU above which masks count.
    """
    shown = said > floor
    slope, shift = np.polyfit(said[shown], true[shown], 1)
    return float(slope), float(shift)


def apply(sam: Sam, slope: float, shift: float) -> None:
    """Writes the line into the last layer of the model's IoU head.

    Args:
        sam: model; changed in place.
        slope: slope of the line.
        shift: shift of the line.
    """
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= slope
        last.bias.mul_(slope).add_(shift)


def reliability(said: NDArray[np.float64], true: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Returns the number of masks and the mean predicted and true IoU, for each tenth of the predicted IoU.

    Args:
        said: predicted IoU.
        true: true IoU, in the same order.
    """
    place = np.clip(np.digitize(said, BINS) - 1, 0, len(BINS) - 2)
    return [
        {"masks": int(mine.sum()), "said": float(said[mine].mean()), "true": float(true[mine].mean())}
        for mine in (place == i for i in range(len(BINS) - 1))
        if mine.any()
    ]


def calibration_error(rows: list[dict[str, Any]]) -> float:
    """Returns the mean of |predicted − true IoU| over the rows of `reliability`, each weighted by its masks."""
    gaps = [abs(row["said"] - row["true"]) for row in rows]
    return float(np.average(gaps, weights=[row["masks"] for row in rows]))


def main(given: Sequence[str] | None = None) -> int:
    """Fits the line, writes the checkpoint, and shows the result on other images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, help="a checkpoint of sam_tiny or sam_nano")
    add("--model", default="sam_tiny", choices=("sam_tiny", "sam_nano"), help="(default: %(default)s)")
    add("--out", type=Path, required=True, help="the calibrated checkpoint")
    add("--batches", type=int, default=40, help="batches of at most 64 prompts, to fit and again to show (%(default)s)")
    add("--floor", type=float, default=0.2, help="predicted IoU above which masks are fitted (default: %(default)s)")
    add("--figures", type=Path, help="file for raw figures, JSON (default: none)")
    arguments = parser.parse_args(given)

    sam = load(arguments.model, fetch(arguments.checkpoint), torch.device("cpu"))
    slope, shift = fit(*said_and_true(sam, SEED, arguments.batches), arguments.floor)
    others = SEED + 1
    before = reliability(*said_and_true(sam, others, arguments.batches))
    apply(sam, slope, shift)
    after = reliability(*said_and_true(sam, others, arguments.batches))
    save_checkpoint(arguments.out, sam.state_dict())

    print(f"calibrated IoU = {slope:.3f} × IoU head {shift:+.3f}")
    for name, rows in (("before", before), ("after", after)):
        print(f"{name}: calibration error {calibration_error(rows):.3f}")
        for row in rows:
            print(f"  {row['masks']:6} masks said {row['said']:.2f}, true {row['true']:.2f}")
    if arguments.figures:
        figures = {"slope": slope, "shift": shift, "before": before, "after": after}
        figures |= {"error_before": calibration_error(before), "error_after": calibration_error(after)}
        arguments.figures.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    main_exit(main)
