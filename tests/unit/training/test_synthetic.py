from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.layouts import tidy
from training.scoring import score
from training.synthetic import FAMILIES, synthesize


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), family=st.sampled_from(FAMILIES), height=st.integers(64, 160))
def test_truth_is_connected_grains_numbered_without_gaps(seed: int, family: str, height: int) -> None:
    made = synthesize(np.random.default_rng(seed), family, height, 128)
    assert made.image.shape == (height, 128, 3)
    assert made.image.dtype == np.uint8
    assert made.labels.shape == (height, 128)
    assert set(np.unique(made.labels)) | {0} == set(range(made.labels.max() + 1))
    for label in range(1, made.labels.max() + 1):
        assert ndimage.label(made.labels == label)[1] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_names_an_image(family: str) -> None:
    first, again = (synthesize(np.random.default_rng(3), family, 96, 96) for _ in range(2))
    other = synthesize(np.random.default_rng(4), family, 96, 96)
    assert (first.image == again.image).all()
    assert (first.labels == again.labels).all()
    assert (first.image != other.image).any()


def test_grain_size_is_what_was_asked_for() -> None:
    sizes = []
    for wanted in (20, 40):
        labels = synthesize(np.random.default_rng(1), "polycrystal", 256, 256, grain_px=wanted).labels
        sizes.append(np.sqrt(4 / np.pi * np.median(np.bincount(labels.ravel())[1:])))
    assert sizes[0] == pytest.approx(20, rel=0.35)
    assert sizes[1] == pytest.approx(40, rel=0.35)


def test_unknown_family_lists_the_known() -> None:
    with pytest.raises(ValueError, match="polycrystal"):
        synthesize(np.random.default_rng(0), "granite")


def test_tidy_splits_pieces_and_drops_specks() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[0:3, 0:3] = labels[5:9, 5:9] = 7
    labels[9, 0] = 2
    assert sorted(np.bincount(tidy(labels, min_area=4).ravel())[1:]) == [9, 16]


def blocks(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    labels = np.zeros((40, 40), np.int32)
    for number, (y0, y1, x0, x1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = number
    return labels


def test_score_of_the_truth_itself_and_of_nothing() -> None:
    truth = blocks((0, 10, 0, 10), (20, 30, 20, 30))
    perfect, empty = score(truth, truth), score(np.zeros_like(truth), truth)
    assert (perfect.f1, perfect.matched, perfect.size_error) == (1, 2, 0)
    assert (empty.f1, empty.found, empty.true) == (0, 0, 2)
    assert score(np.zeros_like(truth), np.zeros_like(truth)).f1 == 1


def test_score_counts_by_iou_one_to_one() -> None:
    truth = blocks((0, 10, 0, 10), (20, 30, 20, 30))
    found = blocks((0, 10, 0, 6), (0, 10, 6, 10), (20, 30, 26, 36))  # one good, one rest, one with IoU 0.25
    result = score(found, truth)
    assert (result.matched, result.found, result.true) == (1, 3, 2)
    assert result.f1 == pytest.approx(2 / 5)
    assert result.size_error == pytest.approx(np.sqrt(0.6) - 1)
