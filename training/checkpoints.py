"""Reads checkpoints, and writes the files of a run: its settings, its state, its checkpoint and its curves."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor

from grain_handler.errors import CheckpointError
from grain_handler.sam import models
from grain_handler.storage import weights
from grain_handler.storage.weights import Checkpoint
from tools.mar import ROOT
from tools.problem import Problem

STATE = "state.pt"
"""File in the run's folder from which the run is resumed."""


@contextmanager
def said() -> Iterator[None]:
    """Turns the handler's error about a file into a Problem of one line."""
    try:
        yield
    except CheckpointError as error:
        raise Problem(str(error).partition("\n")[0]) from error


@said()
def fetch(uri: str) -> Checkpoint:
    """Makes a checkpoint a local file; keeps downloads where `make serve` keeps its own.

    Args:
        uri: file or `gs://`.

    Raises:
        Problem: there is no such file or object.
    """
    return weights.fetch(uri, Path(os.environ.get("GRAINSERVE_WEIGHTS_CACHE") or ROOT / ".run" / "weights"))


@said()
def load(model: str, checkpoint: Checkpoint, device: torch.device) -> Sam:
    """Builds a model and loads a checkpoint into it, as the handler does.

    Args:
        model: model name in the registry.
        checkpoint: checkpoint of that model.
        device: device of the model.

    Raises:
        Problem: the file is no checkpoint, or that of another model.
    """
    return models.load(model, checkpoint, device)


def save(path: Path, value: Any) -> None:
    """Saves a value with torch. It writes a new file and renames it, so an interruption leaves the old file whole."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def digest(parts: Iterable[str | NDArray[Any]]) -> str:
    """Returns sixteen characters that stand for the content and the order of names and arrays."""
    made = hashlib.blake2b(digest_size=8)
    for part in parts:
        made.update(repr(part if isinstance(part, str) else (part.shape, part.dtype)).encode())
        if not isinstance(part, str):
            made.update(part.tobytes())
    return made.hexdigest()


def claim(run: Path, settings: Mapping[str, object], content: Mapping[str, str]) -> None:
    """Creates the run's folder and writes its settings, or checks that a run to resume has the same settings.

    Args:
        run: folder of the run.
        settings: values that must stay the same when the run is resumed, by option.
        content: digests of files that must stay the same, by the option that names them; the files may move.

    Raises:
        Problem: the folder holds the state of a run with other settings.
    """
    note = run / "settings.json"
    said = {name: str(value) for name, value in (*settings.items(), *content.items())}
    if not (run / STATE).exists():
        run.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(said, indent=1) + "\n")
        return
    begun = json.loads(note.read_text()) if note.exists() else {}
    remedy = f"choose another --run, or delete {run}"
    if begun.keys() != said.keys():
        raise Problem(f"{run} was begun by another script, or by another version of this one: {remedy}")
    for name, value in said.items():
        if begun[name] != value and name in content:
            raise Problem(f"--{name} has changed since {run} was begun: {remedy}")
        if begun[name] != value:
            raise Problem(f"{run} was begun with --{name} {begun[name]}, not {value}: {remedy}")


def save_checkpoint(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes a state dict as a checkpoint for the handler, in half precision."""
    save(path, {name: value.half() for name, value in state.items()})


def write_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], mark: int | None = None) -> None:
    """Draws curves of values over steps, side by side.

    Args:
        path: file to write.
        curves: (step, value) pairs, by title.
        mark: step to mark with a dotted line; None: none.
    """
    figure = Figure(figsize=(3.5 * len(curves), 3), layout="constrained")
    for axes, (title, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axes.plot(*zip(*points, strict=True), color="#1f5a92")
        axes.set(title=title, xlabel="step")
        if mark is not None:
            axes.axvline(mark, color="#999999", linestyle=":")
    figure.savefig(path, dpi=150)
