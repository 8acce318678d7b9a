"""A checkpoint with its model config, as benchmarks use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grain_handler.sam import models, seed_head
from grain_handler.storage import weights
from tests.unit.training.scripts import small_vit, untrained
from tools.problem import Problem
from training.serving import Served


def test_what_is_served_is_known_before_it_is_loaded(tmp_path: Path) -> None:
    path = untrained(tmp_path, "sam_nano")
    served = Served.read("sam_tiny", str(path), {"points": "grid", "pred_iou_thresh": "0.25"})
    about = served.about()
    assert (about["options"]["points"], about["options"]["pred_iou_thresh"]) == ("grid", 0.25)
    assert about["options"]["crop_n_layers"] == 2, "the config's"
    assert about["checkpoint_crc32c"] == weights.fetch(str(path), tmp_path).crc32c
    with pytest.raises(Problem, match="is a checkpoint of sam_nano, but the model is sam_tiny"):
        served.finder()
    with pytest.raises(Problem, match="unknown option 'point'"):
        Served.read("sam_tiny", str(path), {"point": "grid"})
    with pytest.raises(Problem, match=r"pred_iou_thresh: .* got 'high'"):
        Served.read("sam_tiny", str(path), {"pred_iou_thresh": "high"})


def test_a_large_model_is_served_with_its_seed_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.REGISTRY, "sam_vit_b", small_vit)
    path, head = untrained(tmp_path, "sam_vit_b"), tmp_path / "seeds.pth"
    torch.save(seed_head.content(seed_head.SeedHead(32), "sam_vit_b"), head)
    served = Served.read("sam_vit_b", str(path), {"points": "seeds"}, seeds=str(head))
    assert served.generator().predicts_seeds
    assert served.about()["seeds_crc32c"] == weights.fetch(str(head), tmp_path).crc32c
    without = Served.read("sam_vit_b", str(path))
    assert not without.generator().predicts_seeds
    assert "seeds_crc32c" not in without.about()
    with pytest.raises(Problem, match="is no seed head"):
        Served.read("sam_vit_b", str(path), seeds=str(path)).generator()
