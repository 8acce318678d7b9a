"""The models to measure: their weights, in a file so that every process has the same, and their thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from benchmarks.against_stock.pictures import Picture
from benchmarks.against_stock.random_sam import random_sam, thresholds
from grain_handler.sam.models import REGISTRY
from tools.mar import ROOT
from training.synthetic import synthesize

SEED = 0
SURVEY_POINTS = 6


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        name: name in the registry.
        checkpoint: file of the state dict.
        pred_iou_thresh: threshold of predicted IoU.
        stability_score_thresh: threshold of the stability score.
        weights: description of its weights.
    """

    name: str
    checkpoint: Path
    pred_iou_thresh: float
    stability_score_thresh: float
    weights: str

    def load(self, device: torch.device) -> Sam:
        """Loads the model into a new module of stock's."""
        sam = REGISTRY[self.name]()
        sam.load_state_dict(torch.load(self.checkpoint, map_location="cpu", weights_only=True))
        return sam.float().to(device).eval()


def prepare(name: str, picture: Picture, device: torch.device, folder: Path) -> Subject:
    """Finds or makes a model.

    Args:
        name: name in the registry; models other than `sam_tiny` get random weights.
        picture: image by which a random model's thresholds are set.
        device: device on which random weights are fitted.
        folder: folder for the random weights.
    """
    if name == "sam_tiny":
        defaults = yaml.safe_load((ROOT / "config" / "sam_tiny.yaml").read_text())["grainserve"]["defaults"]
        checkpoint = ROOT / "weights" / "sam_tiny.pth"
        iou, stability = defaults["pred_iou_thresh"], defaults["stability_score_thresh"]
        return Subject(name, checkpoint, iou, stability, "the committed checkpoint")
    fitted_on = synthesize(np.random.default_rng(SEED), "matrix", 768, 1024, grain_px=70).image
    sam = random_sam(REGISTRY[name], fitted_on, SEED, device)
    checkpoint = folder / f"{name}.pth"
    torch.save(sam.state_dict(), checkpoint)
    iou, stability = _thresholds(sam, picture)
    return Subject(name, checkpoint, iou, stability, f"random, seed {SEED} (benchmarks/against_stock/random_sam.py)")


def _thresholds(sam: Sam, picture: Picture) -> tuple[float, float]:
    """Returns thresholds that a third of stock's masks pass."""
    generator = SamAutomaticMaskGenerator(
        sam,
        SURVEY_POINTS,
        pred_iou_thresh=0,
        stability_score_thresh=0,
        box_nms_thresh=1,
        output_mode="uncompressed_rle",
    )
    records = generator.generate(picture.image)
    scores = [(record["predicted_iou"], record["stability_score"]) for record in records]
    return thresholds(*np.array(scores).T)
