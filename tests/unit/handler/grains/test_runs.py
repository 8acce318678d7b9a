"""Runs by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grain_handler.grains.runs import find_runs


def test_runs_are_by_grain_then_row_then_column_and_end_with_their_row() -> None:
    runs = find_runs(np.array([[1, 1, 0, 2], [2, 0, 1, 1], [2, 2, 0, 2]], np.int32))
    assert runs.grain.tolist() == [0, 0, 1, 1, 1, 1]
    assert runs.row.tolist() == [0, 1, 0, 1, 2, 2]
    assert runs.start.tolist() == [0, 2, 3, 0, 0, 3]
    assert runs.stop.tolist() == [2, 4, 4, 1, 2, 4]
    assert runs.first.tolist() == [0, 2]
    assert runs.total(runs.stop - runs.start).tolist() == [4, 5]


def test_the_last_grain_may_be_one_run() -> None:
    assert find_runs(np.array([[1, 2]], np.int32)).grain.tolist() == [0, 1]


@pytest.mark.parametrize(("labels", "said"), [([[1, 3]], "2 labels go up to 3"), ([[0, 2]], "1 labels go up to 2")])
def test_labels_with_a_gap_are_refused(labels: list[list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        find_runs(np.array(labels, np.int32))
