from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor
from segment_anything.utils.amg import generate_crop_boxes

from grain_handler.sam.crops import Framing, crops_of
from grain_handler.sam.mask_settings import MaskSettings
from tests.unit.handler.sams import random_sam
from tests.unit.handler.scenes import noise

SAM = random_sam(0)


@given(height=st.integers(1, 300), width=st.integers(1, 300), layers=st.integers(0, 3), overlap=st.floats(0, 0.9))
def test_crops_are_stocks_but_for_those_without_pixels(height: int, width: int, layers: int, overlap: float) -> None:
    crops = crops_of(height, width, layers, overlap)
    boxes, numbers = generate_crop_boxes((height, width), layers, overlap)
    stocks = [
        (tuple(box), number) for box, number in zip(boxes, numbers, strict=True) if box[0] < box[2] and box[1] < box[3]
    ]
    assert [(crop.box, crop.layer) for crop in crops] == stocks
    assert (crops[0].box, crops[0].layer) == ((0, 0, width, height), 0)
    for crop in crops:
        pixels = crop.of(np.zeros((height, width, 3), np.uint8))
        assert pixels.shape[:2] == crop.size
        assert pixels[:, :, 0].size == crop.area


@given(height=st.integers(32, 1024), width=st.integers(32, 1024))
def test_each_crop_lies_in_one_of_the_layer_before(height: int, width: int) -> None:
    crops = crops_of(height, width, 2, MaskSettings().crop_overlap_ratio)
    for crop in crops[1:]:
        assert any(other.contains(crop) for other in crops if other.layer == crop.layer - 1)
    assert not any(crop.contains(crops[0]) for crop in crops[1:])


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 99))
def test_frame_and_points_are_what_stock_gives_the_model(height: int, width: int, seed: int) -> None:
    image, framing = noise(height, width, seed), Framing(SAM)
    predictor = SamPredictor(SAM)
    resized = torch.as_tensor(predictor.transform.apply_image(image)).permute(2, 0, 1)
    assert torch.equal(framing.frame(image), SAM.preprocess(resized))
    (crop,) = crops_of(height, width, 0, 0.0)
    points = np.random.default_rng(seed).uniform(size=(5, 2))
    expected = predictor.transform.apply_coords(points * [width, height], (height, width))
    assert framing.points(points, crop).numpy() == pytest.approx(expected)
