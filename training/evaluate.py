"""Scores sam_tiny on held-out synthetic images, or fits the thresholds of its automatic masks.

    python -m training.evaluate                 # F1 at IoU 0.5 on the 40 held-out images, as served
    python -m training.evaluate --fit           # sweeps thresholds on 9 other images

The images go through the handler's own code with the options of config/sam_tiny.yaml. The held-out set is
40 images, seeds 800000 to 800039, families in turn, 512 × 512 px, grain diameter drawn log-uniformly from 18
to 120 px by the generator; training draws its seeds elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

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
from training.scoring import Score, score
from training.synthetic import FAMILIES, SyntheticImage, synthesize

HELD_OUT_SEED, FITTING_SEED = 800_000, 700_000
ROOT = Path(__file__).parent.parent


def images(first_seed: int, count: int) -> list[SyntheticImage]:
    """`count` images of 512 × 512 px, the families in turn."""
    return [synthesize(np.random.default_rng(first_seed + i), FAMILIES[i % len(FAMILIES)]) for i in range(count)]


def grains_score(masks: list[Mask], truth: SyntheticImage, options: Options) -> Score:
    """Scores the label map that these masks make."""
    height, width = truth.labels.shape
    found = label_map(masks, height, width, options.min_area, options.max_area_fraction)
    return score(found.labels, truth.labels)


def masks_of(generator: MaskGenerator, truth: SyntheticImage, options: Options) -> list[Mask]:
    """The automatic masks of an image, as served."""
    return generator.generate(truth.image, mask_settings(options, *truth.labels.shape))


def evaluate(generator: MaskGenerator, options: Options, count: int) -> dict[str, Any]:
    """F1 at IoU 0.5 per image, per family (mean over its images) and overall."""
    rows = []
    for i, truth in enumerate(tqdm(images(HELD_OUT_SEED, count), desc="held-out images")):
        result = grains_score(masks_of(generator, truth, options), truth, options)
        rows.append(
            {"seed": HELD_OUT_SEED + i, "family": truth.family, "f1": round(result.f1, 4)}
            | {"found": result.found, "true": result.true, "matched": result.matched}
        )
    by_family = {f: float(np.mean([r["f1"] for r in rows if r["family"] == f])) for f in FAMILIES}
    return {"f1_mean": float(np.mean([r["f1"] for r in rows])), "f1_by_family": by_family, "images": rows}


def fit(generator: MaskGenerator, options: Options, count: int) -> list[tuple[float, float, float]]:
    """Mean F1 for a grid of thresholds, best first: (F1, pred_iou_thresh, stability_score_thresh).

    Masks are made once, on a coarse grid with low thresholds, and filtered afterwards: box NMS keeps the mask of
    higher predicted IoU, so masks that a higher threshold would drop hardly suppress any that it keeps.
    """
    coarse = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.6, "points_per_side": 16}
    low = options.model_copy(update=coarse)
    truths = images(FITTING_SEED, count)
    made = [masks_of(generator, truth, low) for truth in tqdm(truths, desc="fitting images")]
    table = []
    for iou, stability in itertools.product((0.3, 0.4, 0.5, 0.6, 0.7), (0.6, 0.75, 0.9)):
        kept = [[m for m in ms if m.predicted_iou > iou and m.stability_score >= stability] for ms in made]
        mean = np.mean([grains_score(ms, truth, options).f1 for ms, truth in zip(kept, truths, strict=True)])
        table.append((float(mean), iou, stability))
    return sorted(table, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"))
    parser.add_argument("--fit", action="store_true", help="sweep thresholds instead of scoring")
    parser.add_argument("--count", type=int, help="images (default: 40; 9 with --fit)")
    parser.add_argument("--points-per-side", type=int, help="another grid than the config's")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    args = parser.parse_args()

    config = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())["grainserve"]
    options = Options(**config["defaults"])
    if args.points_per_side:
        options = options.model_copy(update={"points_per_side": args.points_per_side})
    checkpoint = weights.fetch(args.checkpoint, Path())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = resolve(config["precision"], device)
    generator = MaskGenerator(models.load("sam_tiny", checkpoint, device), precision)
    if args.fit:
        for f1, iou, stability in fit(generator, options, args.count or 9)[:12]:
            print(f"F1 {f1:.3f}  pred_iou_thresh {iou:.2f}  stability_score_thresh {stability:.2f}")
        return
    figures = evaluate(generator, options, args.count or 40)
    figures |= {"checkpoint_crc32c": checkpoint.crc32c, "precision": precision, "options": options.model_dump()}
    print(f"F1 at IoU 0.5, mean of {len(figures['images'])} held-out images: {figures['f1_mean']:.3f}")
    for family, f1 in figures["f1_by_family"].items():
        print(f"  {family:12} {f1:.3f}")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
