"""The IoU head's calibration: a line into its last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grain_handler.models import build_sam_tiny
from training.calibrate import apply, calibration_error, fit, reliability


def test_the_line_is_found_over_what_is_shown() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 5000)
    true = np.where(said > 0.2, 0.9 * said + 0.07, 0) + rng.normal(0, 0.02, 5000)
    slope, shift = fit(said, true, floor=0.2)
    assert [slope, shift] == pytest.approx([0.9, 0.07], abs=0.01)
    before = calibration_error(reliability(said[said > 0.2], true[said > 0.2]))
    after = calibration_error(reliability(slope * said[said > 0.2] + shift, true[said > 0.2]))
    assert after < 0.2 * before


def test_the_head_says_what_the_line_says() -> None:
    torch.manual_seed(0)
    sam = build_sam_tiny()
    token = torch.randn(5, 128)
    head = sam.mask_decoder.iou_prediction_head
    with torch.no_grad():
        before = head(token)
        apply(sam, 1.3, -0.1)
        torch.testing.assert_close(head(token), 1.3 * before - 0.1)
