r"""Averages checkpoints of one run, to keep most of what longer training gained and lose less of what it forgot.

    python -m training.average v3.pth longer.pth --out both.pth

Every tensor of the result is the mean of the checkpoints' tensors, as in "model soups" (Wortsman et al. 2022, ICML).
This works for checkpoints that came from the same weights by not too much training; others do not fit together.
Calibrate and score the result before you serve it: training.calibrate, benchmarks.accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from grain_handler.sam import models
from tools.problem import Problem, main_exit
from training.checkpoints import fetch, load, save_checkpoint


def average(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the mean of each tensor, computed in double precision.

    Args:
        states: state dicts of one model, with the same names and shapes.
    """
    return {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}


def main(given: Sequence[str] | None = None) -> int:
    """Averages the checkpoints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoints", nargs="+", help="files or gs://, two or more of one model")
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default: %(default)s)")
    add("--out", type=Path, required=True)
    arguments = parser.parse_args(given)
    if len(arguments.checkpoints) < 2:
        raise Problem("one checkpoint is its own average: name two or more")
    cpu = torch.device("cpu")
    states = [load(arguments.model, fetch(name), cpu).state_dict() for name in arguments.checkpoints]
    save_checkpoint(arguments.out, average(states))
    print(f"{arguments.out}: the mean of {len(states)} checkpoints")
    return 0


if __name__ == "__main__":
    main_exit(main)
