"""A model that sleeps instead of segmenting, as if an accelerator worked while the machine's own cores are idle.

`benchmarks/scaleout.py` packs it as a separate package; this file is its TorchServe entry.
"""

from __future__ import annotations

import json
import time
from typing import Any

SECONDS = 1.0
"""Seconds that an image takes."""
METADATA: dict[str, Any] = {
    "timestamp": "2026-11-30T00:00:00Z",
    "processTime": SECONDS,
    "model": "sleeper",
    "checkpoint": {"uri": "none", "generation": None, "crc32c": "AAAAAA=="},
    "image": {"width": 1, "height": 1, "format": "PNG", "mode": "RGB", "bytes": 1},
    "units": {"length": "px", "area": "px²", "angle": "degree", "umPerPx": None, "scaleSource": None},
    "options": {
        "points": "grid",
        "points_per_side": 32,
        "points_per_batch": 64,
        "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "min_mask_region_area": 0,
        "min_area": 20,
        "max_area_fraction": 0.5,
        "mode": "grains",
        "mask_format": "rle",
        "um_per_px": None,
        "label": "grain",
    },
    "warnings": [],
}
"""The parts of a result that dispatchers check, without image id and version."""


class Sleeper:
    """TorchServe entry that answers without grains after the sleep."""

    def initialize(self, context: Any) -> None:
        properties = context.manifest["model"]
        self.version = properties["modelVersion"]
        self.initialized = True

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[str]:
        answers = []
        for row in rows:
            time.sleep(SECONDS)
            body = row.get("body", {})
            metadata = METADATA | {"imageId": body.get("imageId"), "version": self.version}
            answers.append(json.dumps({"metadata": metadata, "segmentedObjects": []}))
        return answers
