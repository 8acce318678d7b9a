"""Automatic masks: SAM asked at every point of a grid what lies there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import rle_to_mask

from grain_handler.masks import Mask, crop_to_content
from grain_handler.options import Options


def automatic_masks(sam: Sam, image: NDArray[np.uint8], options: Options) -> list[Mask]:
    """Segments everything in the image.

    Args:
        sam: The model, in evaluation mode.
        image: H × W × 3, uint8, RGB.
        options: Grid, thresholds and crops.

    Returns:
        SAM's masks, which may overlap, in the generator's order.
    """
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=options.points_per_side,
        points_per_batch=options.points_per_batch,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        box_nms_thresh=options.box_nms_thresh,
        crop_n_layers=options.crop_n_layers,
        output_mode="uncompressed_rle",  # one mask at a time is unpacked below, never all of them
    )
    masks = []
    for record in generator.generate(image):
        x, y, patch = crop_to_content(rle_to_mask(record["segmentation"]))
        masks.append(Mask(x, y, patch, float(record["predicted_iou"]), float(record["stability_score"])))
    return masks
