"""A checkpoint with its model config, as figures are made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from grain_handler import weights
from tests.unit.training.scripts import untrained
from tools.problem import Problem
from training.serving import Served


def test_what_is_served_is_known_before_it_is_loaded(tmp_path: Path) -> None:
    path = untrained(tmp_path, "sam_nano")
    served = Served.read("sam_tiny", str(path), {"points": "grid", "pred_iou_thresh": "0.25"})
    about = served.about()
    assert (about["options"]["points"], about["options"]["pred_iou_thresh"]) == ("grid", 0.25)
    assert about["options"]["crop_n_layers"] == 1, "the config's"
    assert about["checkpoint_crc32c"] == weights.fetch(str(path), tmp_path).crc32c
    with pytest.raises(Problem, match="is a checkpoint of sam_nano, but the model is sam_tiny"):
        served.finder()
    with pytest.raises(Problem, match="unknown option 'point'"):
        Served.read("sam_tiny", str(path), {"point": "grid"})
    with pytest.raises(Problem, match=r"pred_iou_thresh: .* got 'high'"):
        Served.read("sam_tiny", str(path), {"pred_iou_thresh": "high"})
