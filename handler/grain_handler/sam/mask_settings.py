"""What automatic masks ask and keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from segment_anything.utils.amg import build_all_layer_point_grids


@dataclass(frozen=True)
class MaskSettings:
    """What to ask and what to keep; names and defaults are stock SAM's.

    Attributes:
        points_per_side: The grid of point prompts has this many points along each side of a crop.
        points_per_batch: Points whose masks are held at once before they are filtered; changes no mask.
        pred_iou_thresh: Masks with a predicted IoU up to this are dropped; 0 keeps all.
        stability_score_thresh: Masks with a stability score under this are dropped; 0 keeps all.
        stability_score_offset: The shift of the threshold that a stable mask withstands, logits.
        box_nms_thresh: Of two masks of a crop whose boxes overlap more than this (IoU), the worse is dropped.
        crop_n_layers: Also segments 4ⁿ crops per layer n, for grains small against the image.
        crop_nms_thresh: As `box_nms_thresh`, between crops; masks of smaller crops are preferred.
        crop_overlap_ratio: Overlap of the first layer's crops, share of the image's shorter side.
        crop_n_points_downscale_factor: Layer n has points_per_side / factorⁿ points along a side.
        point_grids: One grid a layer (k × 2, (x, y) in 0…1) instead of `points_per_side`.
        min_mask_region_area: Holes and islands of a mask with fewer pixels are removed; 0 leaves masks as they are.
        points: Not stock's. `grid` asks all points, as stock does; `adaptive` coarse ones first and finer ones only
            where no confident mask lies; `seeds` where the encoder says that grains are.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[NDArray[np.float64]] | None = None
    min_mask_region_area: int = 0
    points: Literal["grid", "adaptive", "seeds"] = "grid"

    def grids(self) -> Sequence[NDArray[np.float64]]:
        """One grid of points for each layer of crops."""
        if self.point_grids is not None:
            return self.point_grids
        grids: Sequence[NDArray[np.float64]] = build_all_layer_point_grids(
            self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
        )
        return grids
