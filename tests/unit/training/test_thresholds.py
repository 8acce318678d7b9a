from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grain_handler.masks import Mask
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.wire.options import Options
from tests.unit.training.scripts import rock
from training import thresholds
from training.serving import Served
from training.thresholds import PREDICTED_IOU, STABILITY, sweep


def test_the_thresholds_that_keep_grains_and_drop_the_rest_win() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[20:32, 20:32] = 1, 2
    grains = [Mask(2, 2, np.ones((10, 10), bool), 0.45, 0.75), Mask(20, 20, np.ones((12, 12), bool), 0.9, 0.9)]
    rest = [Mask(25, 2, np.ones((10, 10), bool), 0.35, 0.9), Mask(2, 25, np.ones((10, 10), bool), 0.9, 0.65)]
    image = np.zeros((40, 40, 3), np.uint8)
    table = sweep([(image, labels)], [[*grains, *rest]], Options())
    assert table[0] == (1.0, 0.4, 0.7)
    assert [row for row in table if row[0] == 1.0] == [(1.0, 0.4, 0.7)]


def test_every_point_is_asked_whatever_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With adaptive points, low thresholds would suppress points of masks that high thresholds keep."""
    asked: list[MaskSettings] = []

    class Generator:
        def generate(self, image: np.ndarray, settings: MaskSettings) -> list[Mask]:
            assert image.shape == (192, 192, 3)
            asked.append(settings)
            return []

    monkeypatch.setattr(Served, "generator", lambda _: Generator())
    assert thresholds.main(["--data", str(rock(tmp_path / "rock"))]) == 0
    assert len(asked) == 3
    for settings in asked:
        assert settings.points == "grid"
        assert settings.points_per_side == 32
        assert (settings.pred_iou_thresh, settings.stability_score_thresh) == (PREDICTED_IOU[0], STABILITY[0])
    assert "pred_iou_thresh 0.7" in capsys.readouterr().out
