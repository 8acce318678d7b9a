"""The mean of checkpoints: of every tensor, and only of checkpoints of one model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grain_handler.sam.models import REGISTRY
from tests.unit.training.scripts import untrained
from tools.problem import Problem
from training import average
from training.checkpoints import save_checkpoint


def test_every_tensor_is_the_mean(tmp_path: Path) -> None:
    paths, states = [tmp_path / f"{name}.pth" for name in "abc"], []
    for path in paths:
        states.append(REGISTRY["sam_nano"]().state_dict())
        save_checkpoint(path, states[-1])
    out = tmp_path / "mean.pth"
    assert average.main([*map(str, paths), "--model", "sam_nano", "--out", str(out)]) == 0
    found = torch.load(out, weights_only=True)
    assert found.keys() == states[0].keys()
    for name, tensor in found.items():
        mean = sum(state[name].double() for state in states) / 3
        assert torch.allclose(tensor.double(), torch.as_tensor(mean), atol=2e-3, rtol=2e-3), name


def test_one_checkpoint_or_another_models_is_told(tmp_path: Path) -> None:
    nano, tiny, out = untrained(tmp_path, "sam_nano"), untrained(tmp_path, "sam_tiny"), tmp_path / "mean.pth"
    with pytest.raises(Problem, match="two or more"):
        average.main([str(tiny), "--out", str(out)])
    with pytest.raises(Problem, match="sam_nano"):
        average.main([str(tiny), str(nano), "--out", str(out)])
    assert not out.exists()
