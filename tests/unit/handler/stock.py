"""The reference of automatic masks: stock SAM's generator, its decisions by rounding, and the comparison with ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.amg import (
    MaskData,
    batched_mask_to_box,
    calculate_stability_score,
    remove_small_regions,
    uncrop_masks,
)
from torch import Tensor
from torchvision.ops import box_iou

from grain_handler.masks import Mask
from grain_handler.sam.mask_settings import MaskSettings
from tests.unit.handler.exact import in_double

LOGIT_ROUNDING = 5e-6
"""Least tolerance of a logit that is summed in another order, as a share of the largest logit of its batch; most of
stock's are up to 3e-6 off a run in double precision."""
SCORE_ROUNDING = 1e-5
"""Least absolute tolerance of predicted IoUs."""
OF_STOCKS = 5
"""Tolerance relative to stock's own distance from a run in double precision, if that is more: ours is up to three times
as far away, on the other side."""


class Stock(SamAutomaticMaskGenerator):  # type: ignore[misc]  # segment_anything is not typed
    """Stock's generator with a watch: `unsettled` says which of its decisions rounding could change.

    Args:
        sam: model to run.
        settings: settings of points and filters.
        points_per_batch: changes no mask; small batches are faster here.
        any_weights: whether a run in double precision measures rounding, for models with random weights.
    """

    def __init__(
        self, sam: Sam, settings: MaskSettings, points_per_batch: int = 2, *, any_weights: bool = False
    ) -> None:
        options = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        del options["points"]
        if settings.point_grids is not None:
            options["points_per_side"] = None
        super().__init__(sam, **options | {"points_per_batch": points_per_batch})
        self.unsettled: set[str] = set()
        self.crop: list[MaskData] = []
        self.kept = 0
        self.predictor.predict_torch = self._predict
        self.exact = in_double(sam) if any_weights else None
        self.predictor.set_torch_image = self._see
        self.exact_features = torch.empty(0)
        self.score_rounding = SCORE_ROUNDING

    def masks(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Returns stock's masks; none if stock fails because it found nothing in any crop."""
        try:
            found: list[dict[str, Any]] = self.generate(image)
        except IndexError:
            if self.crop_n_layers == 0 or self.kept > 0:
                raise
            return []
        return found

    @torch.no_grad()
    def _see(self, image: Tensor, size: tuple[int, ...]) -> None:
        SamPredictor.set_torch_image(self.predictor, image, size)
        if self.exact:
            self.exact_features = self.exact.image_encoder(self.exact.preprocess(image.double()))

    def _predict(
        self, points: Tensor, labels: Tensor, multimask_output: bool, return_logits: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        masks, iou, low = SamPredictor.predict_torch(
            self.predictor, points, labels, multimask_output=multimask_output, return_logits=return_logits
        )
        rounding = LOGIT_ROUNDING * low.abs().max()
        if self.exact:
            exact_low, exact_iou = self._exactly(self.exact, points, labels)
            rounding = torch.maximum(rounding, OF_STOCKS * (low - exact_low).abs().max().float())
            self.score_rounding = max(self.score_rounding, OF_STOCKS * (iou - exact_iou).abs().max().item())
        self._watch(masks.flatten(0, 1) - self.predictor.model.mask_threshold, iou.flatten(), rounding)
        return masks, iou, low

    @torch.no_grad()
    def _exactly(self, exact: Sam, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns low-resolution logits and predicted IoU in double precision."""
        prompts, dense = exact.prompt_encoder((points, labels), None, None)
        place = exact.prompt_encoder.get_dense_pe()
        logits, iou = exact.mask_decoder(self.exact_features, place, prompts, dense, multimask_output=True)
        return logits, iou

    def _watch(self, logits: Tensor, iou: Tensor, rounding: Tensor) -> None:
        if self.pred_iou_thresh > 0:
            if ((iou - self.pred_iou_thresh).abs() < self.score_rounding).any():
                self.unsettled.add("predicted IoU")
            logits = logits[iou > self.pred_iou_thresh]
        offset, threshold = self.stability_score_offset, self.stability_score_thresh
        if threshold > 0:
            loose = logits[_any((logits.abs() - offset).abs() <= rounding)]
            # The smallest and the largest stability that flipped pixels could give
            least, most = (
                (loose > offset + sign * rounding).sum((1, 2)) / (loose > -offset - sign * rounding).sum((1, 2))
                for sign in (1, -1)
            )
            if ((least.nan_to_num(0) <= threshold) & (most.nan_to_num(torch.inf) >= threshold)).any():
                self.unsettled.add("stability")
        loose = logits[_any(logits.abs() <= rounding)]
        if threshold > 0:
            loose = loose[calculate_stability_score(loose, 0, offset) >= threshold]
        smallest, largest = loose > rounding, loose > -rounding
        if (batched_mask_to_box(smallest) != batched_mask_to_box(largest)).any():
            self.unsettled.add("boxes")
        if self.min_mask_region_area > 0:
            for pair in zip(self._clean(smallest), self._clean(largest), strict=True):
                (one, changed), (other, changed_too) = pair
                if changed != changed_too or (one != other).sum() > 2:
                    self.unsettled.add("regions")

    def _clean(self, masks: Tensor) -> list[tuple[NDArray[np.bool_], bool]]:
        """Returns the masks without small regions, and whether they had any."""
        cleaned = []
        for mask in uncrop_masks(masks, *self.place).numpy():
            filled, had_holes = remove_small_regions(mask, self.min_mask_region_area, mode="holes")
            kept, had_islands = remove_small_regions(filled, self.min_mask_region_area, mode="islands")
            cleaned.append((kept, had_holes or had_islands))
        return cleaned

    def _process_batch(self, *args: Any) -> MaskData:
        data = super()._process_batch(*args)
        self.kept += len(data["iou_preds"])
        self.crop.append(data)
        return data

    def _process_crop(
        self, image: NDArray[np.uint8], crop_box: list[int], layer: int, size: tuple[int, int]
    ) -> MaskData:
        self.crop, self.place = [], (crop_box, *size)
        data = super()._process_crop(image, crop_box, layer, size)
        iou = torch.cat([part["iou_preds"] for part in self.crop])
        boxes = torch.cat([part["boxes"] for part in self.crop]).float()
        alike = torch.triu((iou[:, None] - iou).abs() < self.score_rounding, diagonal=1)
        if (alike & (box_iou(boxes, boxes) > min(self.box_nms_thresh, self.crop_nms_thresh))).any():
            self.unsettled.add("order")
        return data


def _any(pixels: Tensor) -> Tensor:
    """Tells which masks have such a pixel."""
    return pixels.flatten(1).any(1)


def assert_same(ours: Sequence[Mask], stocks: Sequence[dict[str, Any]], height: int, width: int) -> None:
    """Compares our masks with stock's: the same number, order, pixels and scores.

    Predicted IoUs differ by less than 1e-4. A pixel whose logit lies within rounding of a threshold may fall on
    either side (stock's own logits are that far from a run in double precision), so masks may differ by one pixel
    in a thousand or by two, and a stability, which is a ratio of two pixel counts, by three pixels.
    """
    assert [mask.predicted_iou for mask in ours] == near([stock["predicted_iou"] for stock in stocks])
    free = dict(enumerate(ours))
    for stock in stocks:
        frame = stock["segmentation"]
        # Masks whose scores differ only by rounding may be in another order.
        rivals = {i: mask for i, mask in free.items() if mask.predicted_iou == near(stock["predicted_iou"])}
        differing = {i: int((mask.full(height, width) != frame).sum()) for i, mask in rivals.items()}
        best = min(differing, key=differing.__getitem__)
        mask = free.pop(best)
        assert differing[best] <= max(2, 0.001 * stock["area"]), f"{differing[best]} of {stock['area']} px differ"
        if math.isnan(stock["stability_score"]):
            assert math.isnan(mask.stability_score)
        else:
            tolerance = max(1e-4, 3 / stock["area"]) if stock["area"] else 0
            assert abs(mask.stability_score - stock["stability_score"]) <= tolerance


def near(expected: Any) -> Any:
    """Tells whether predicted IoUs are within the tolerance."""
    return pytest.approx(expected, rel=0, abs=1e-4)
