"""What every run writes: its state, its checkpoint, its curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from tools.problem import Problem

STATE = "state.pt"
"""In the run's folder: all that the run is resumed from."""


def save(path: Path, value: Any) -> None:
    """Writes beside the target, then renames: an interrupted save leaves the old file whole."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def claim(run: Path, settings: Mapping[str, object]) -> None:
    """Makes the run's folder and notes what the run is; one that was begun with other settings is not gone on with.

    Args:
        run: The run's folder.
        settings: What must stay the same when the run is resumed, by option.

    Raises:
        Problem: The folder holds another run.
    """
    run.mkdir(parents=True, exist_ok=True)
    said = {name: str(value) for name, value in settings.items()}
    note = run / "settings.json"
    if not note.exists():
        note.write_text(json.dumps(said, indent=1) + "\n")
    begun = json.loads(note.read_text())
    for name, value in said.items():
        if begun[name] != value:
            raise Problem(f"{run} was begun with --{name} {begun[name]}, not {value}: choose another --run")


def save_checkpoint(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes a state dict as the handler loads it, in half precision."""
    save(path, {name: value.half() for name, value in state.items()})


def write_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], mark: int | None = None) -> None:
    """Draws (step, value) curves side by side, by title; a dotted line marks the step that was chosen."""
    figure = Figure(figsize=(3.5 * len(curves), 3), layout="constrained")
    for axes, (title, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axes.plot(*zip(*points, strict=True), color="#1f5a92")
        axes.set(title=title, xlabel="step")
        if mark is not None:
            axes.axvline(mark, color="#999999", linestyle=":")
    figure.savefig(path, dpi=150)
