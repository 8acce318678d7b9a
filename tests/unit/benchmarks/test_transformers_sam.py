from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from benchmarks.against_stock.transformers_sam import renamed, takes
from grain_handler.sam.models import REGISTRY, build_sam_tiny

PRINT_LAYOUT = """
import torch
from transformers import SamConfig, SamModel
with torch.device("meta"):
    model = SamModel(SamConfig())
for name, value in model.state_dict().items():
    print(name, tuple(value.shape))
"""


@pytest.mark.timeout(120)
def test_every_tensor_of_vit_b_finds_its_place() -> None:
    """Compares names and shapes in a separate process, since transformers patches and warns on import."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRINT_LAYOUT],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.device("meta"):
        state = REGISTRY["sam_vit_b"]().state_dict()
    assert {f"{name} {tuple(value.shape)}" for name, value in renamed(state).items()} == set(done.stdout.splitlines())


def test_it_has_no_convolutional_encoder() -> None:
    assert not takes(build_sam_tiny())
