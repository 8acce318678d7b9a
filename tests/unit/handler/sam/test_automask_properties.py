"""Comparison of automatic masks with stock SAM's, for random models, images and options."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from segment_anything.modeling import Sam

from grain_handler.sam.automask import MaskGenerator, MaskSettings
from tests.unit.handler.sams import random_sam, shaken
from tests.unit.handler.scenes import Picture, grains, noise, uniform
from tests.unit.handler.stock import Stock, assert_same
from training.synthetic import FAMILIES

SIDES = st.sampled_from([128, 256])


@st.composite
def models(draw: st.DrawFn) -> Sam:
    seed, side = draw(st.integers(0, 2**32 - 1)), draw(SIDES)
    if draw(st.booleans()):
        sam = shaken(seed, draw(st.sampled_from([0.0, 0.1, 0.3, 0.5])), side)
    else:
        sam = random_sam(seed, side)
    sam.mask_threshold = draw(st.sampled_from([0.0, 0.0, 0.0, -0.6, 0.8]))
    return sam


@st.composite
def images(draw: st.DrawFn) -> Picture:
    height, width, seed = draw(st.integers(1, 200)), draw(st.integers(1, 200)), draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from([*FAMILIES, *FAMILIES, "noise", "uniform"]))
    if kind == "uniform":
        return uniform(height, width, seed % 256)
    if kind == "noise":
        return noise(height, width, seed)
    frame = grains(seed, kind, max(height, 8), max(width, 8), draw(st.sampled_from([6.0, 15.0, 30.0, 60.0])))
    return frame[:height, :width].copy()


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    grid: dict[str, Any] = {"points_per_side": draw(st.integers(2, 6))}
    layers = draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2]))
    if draw(st.integers(0, 4)) == 0:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        grid = {"point_grids": [rng.uniform(size=(int(rng.integers(1, 20)), 2)) for _ in range(layers + 1)]}
    else:
        grid["crop_n_points_downscale_factor"] = draw(st.sampled_from([1, 2])) if grid["points_per_side"] > 3 else 1
    return grid | {
        "points_per_batch": draw(st.sampled_from([1, 7, 64])),
        "pred_iou_thresh": draw(st.sampled_from([0.0, 0.3, 0.3, 0.5, 0.8])),
        "stability_score_thresh": draw(st.sampled_from([0.0, 0.3, 0.6, 0.9])),
        "stability_score_offset": draw(st.sampled_from([0.0, 0.4, 1.0, 1.0, 2.5])),
        "box_nms_thresh": draw(st.sampled_from([0.0, 0.3, 0.7, 0.9, 1.0])),
        "crop_n_layers": layers,
        "crop_nms_thresh": draw(st.sampled_from([0.1, 0.7, 1.0])),
        "crop_overlap_ratio": draw(st.sampled_from([0.0, 512 / 1500, 0.6])),
        "min_mask_region_area": draw(st.sampled_from([0, 0, 5, 80])),
    }


@settings(
    deadline=None,
    max_examples=30,
    # Stock takes up to seconds for a case, so shrinking a failure would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(sam=models(), image=images(), chosen=options(), mib=st.sampled_from([1, 64]))
def test_masks_are_stocks(sam: Sam, image: Picture, chosen: dict[str, Any], mib: int) -> None:
    height, width = image.shape[:2]
    assume(min(height, width) >= 16 or chosen["crop_n_layers"] == 0)  # stock fails on crops without pixels
    stock = Stock(sam, MaskSettings(**chosen), any_weights=True)
    expected = stock.masks(image)
    assume(not stock.unsettled)
    assert_same(MaskGenerator(sam, memory_mib=mib).generate(image, MaskSettings(**chosen)), expected, height, width)
