"""The IoU head's calibration: a line into its last layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam

from grain_handler.sam.models import build_sam_tiny
from tests.unit.training.scripts import untrained
from tools.mar import ROOT
from training import calibrate, forward
from training.calibrate import apply, calibration_error, fit, reliability
from training.crops import Batch, CropStream
from training.synthetic import synthesize


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


def test_the_model_is_asked_in_windows_as_seeds_are_and_an_old_one_about_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides: list[int | None] = []

    def decode(sam: Sam, embedding: torch.Tensor, batch: Batch, side: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        sides.append(side)
        return forward.decode(sam, embedding, batch, side)

    made = synthesize(np.random.default_rng(3), "loose", 256, 256, grain_px=40)
    stream = CropStream(3, crops=2, sides=(512,), source=lambda _: (made.image, made.labels))
    monkeypatch.setattr(calibrate, "CropStream", lambda *_, **__: stream)
    monkeypatch.setattr(calibrate, "decode", decode)
    new, old = build_sam_tiny(), build_sam_tiny()
    old.image_encoder.seed_head = None
    seen = []
    for sam in (new, old):
        said, true = calibrate.said_and_true(sam, 3, 1)
        assert said.shape == true.shape
        seen.append(len(said))
    assert sides == [16, None]
    assert 0 < seen[0] <= seen[1] == 3 * 8, "grains larger than their window are left out"


def test_figures_are_written_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = np.linspace(0, 1, 50)
    monkeypatch.setattr(calibrate, "said_and_true", lambda *_: (said, said))
    command = ["--checkpoint", str(untrained(tmp_path, "sam_tiny")), "--out", str(tmp_path / "out.pth")]
    committed = ROOT / "benchmarks" / "results" / "calibration.json"
    before = committed.read_bytes()
    assert calibrate.main(command) == 0
    assert committed.read_bytes() == before
    assert calibrate.main([*command, "--figures", str(tmp_path / "figures.json")]) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["slope"] == pytest.approx(1)
