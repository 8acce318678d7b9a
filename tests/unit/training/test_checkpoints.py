"""The settings that identify a run, and the source of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grain_handler.storage import weights
from tools.mar import ROOT
from tools.problem import Problem
from training.checkpoints import STATE, claim, digest, fetch


def test_a_digest_is_of_names_pixels_and_their_order() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    one = digest(["a", image, "b", image])
    assert digest(["a", image.copy(order="F"), "b", image]) == one
    others: tuple[list[Any], ...] = (
        ["a", image],
        ["b", image, "a", image],
        ["a", image, "b", image + 1],
        ["a", image.reshape(4, 3), "b", image],
    )
    assert len({one, *map(digest, others)}) == 5


def test_only_a_run_that_learnt_something_is_claimed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    claim(run, {"lr": 1e-3}, {"data": "one"})
    claim(run, {"lr": 1e-4}, {"data": "two"})
    (run / STATE).touch()
    claim(run, {"lr": 1e-4}, {"data": "two"})
    with pytest.raises(Problem, match=rf"{run} was begun with --lr 0.0001, not 0.001: .* delete {run}"):
        claim(run, {"lr": 1e-3}, {"data": "two"})
    with pytest.raises(Problem, match=rf"--data has changed since {run} was begun: .* delete {run}"):
        claim(run, {"lr": 1e-4}, {"data": "one"})


@pytest.mark.parametrize("note", [None, '{"lr": "0.001"}'])
def test_a_run_of_which_too_little_is_known_is_not_gone_on_with(note: str | None, tmp_path: Path) -> None:
    """Such a run is one of training.train, or of a version that recorded less."""
    (tmp_path / STATE).touch()
    if note:
        (tmp_path / "settings.json").write_text(note)
    with pytest.raises(Problem, match="by another script, or by another version"):
        claim(tmp_path, {"lr": 1e-3}, {"data": "one"})


def test_downloads_lie_where_serving_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = []
    monkeypatch.setattr(weights, "fetch", lambda _, cache: caches.append(cache))
    monkeypatch.delenv("GRAINSERVE_WEIGHTS_CACHE", raising=False)
    fetch("gs://bucket/object")
    monkeypatch.setenv("GRAINSERVE_WEIGHTS_CACHE", "/elsewhere")
    fetch("gs://bucket/object")
    assert caches == [ROOT / ".run" / "weights", Path("/elsewhere")]
