"""The benchmark of distillation: the student's images, and the means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.distillation import fill, summarise
from benchmarks.scored.images import Known
from training.distill import photographs


def test_means_are_by_group() -> None:
    keys = ("teacher_f1", "student_f1", "agreement", "teacher_seconds", "student_seconds")
    rows = [
        {"group": "photographs"} | dict.fromkeys(keys, 1.0),
        {"group": "photographs"} | dict.fromkeys(keys, 0.5),
        {"group": "synthetic"} | dict.fromkeys(keys, 0.25),
    ]
    summary = summarise(rows)
    assert list(summary) == ["photographs", "synthetic"]
    assert summary["photographs"] == pytest.approx(dict.fromkeys(keys, 0.75))
    assert summary["synthetic"] == dict.fromkeys(keys, 0.25)


def test_the_student_sees_these_images_and_no_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "images"
    for level in (10, 20):
        image = np.full((8, 8, 3), level, np.uint8)
        fill(folder, [Known(f"grey {level}", "photographs", "sand", image, np.ones((8, 8), np.int32))])
    (seen,) = photographs(folder)
    assert (seen == 20).all()
