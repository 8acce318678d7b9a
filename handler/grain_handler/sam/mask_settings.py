"""The settings of automatic masks: where SAM is asked, and which masks are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from segment_anything.utils.amg import build_all_layer_point_grids


@dataclass(frozen=True)
class MaskSettings:
    """Settings of automatic masks; names and defaults are stock SAM's.

    Attributes:
        points_per_side: points of the grid along each side of a crop.
        points_per_batch: points whose masks are held at once before they are filtered; changes no mask.
        pred_iou_thresh: masks with a predicted IoU up to this are dropped; 0 keeps all.
        stability_score_thresh: masks with a stability score under this are dropped; 0 keeps all.
        stability_score_offset: shift of the mask threshold in the stability score, logits.
        box_nms_thresh: largest IoU of the boxes of two masks of one crop; above it the worse mask is dropped.
        crop_n_layers: layers of enlarged crops, for grains small against the image; layer n has 4ⁿ crops.
        crop_nms_thresh: largest IoU of the boxes of masks of two crops; above it the larger crop's mask is dropped.
        crop_overlap_ratio: overlap of the first layer's crops, share of the image's shorter side.
        crop_n_points_downscale_factor: layer n has points_per_side / factorⁿ points along a side.
        point_grids: grids to use instead of `points_per_side`, one for each layer, k × 2, (x, y) in 0…1.
        min_mask_region_area: holes and islands of a mask with fewer pixels are removed; 0 leaves masks as they are.
        points: where SAM is asked; the one setting that stock lacks. `grid`: at all points of the grid, as stock does;
            `adaptive`: at coarse points first, at finer ones only where no confident mask lies; `seeds`: where the
            encoder predicts grains.
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
        """Returns one grid of points for each layer of crops, k × 2, (x, y) in 0…1."""
        if self.point_grids is not None:
            return self.point_grids
        grids: Sequence[NDArray[np.float64]] = build_all_layer_point_grids(
            self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
        )
        return grids
