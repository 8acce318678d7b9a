"""The overlay of a report."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from grainserve.reports.overlays import SizeColours, _labels, size_overlay
from grainserve.result import Result
from tests.unit.client.made import make_result

HEIGHT, WIDTH = 90, 140


def overlapping(seed: int) -> Result:
    """Makes a result of mode `masks`: discs over each other, some cut by the frame, one of a single pixel."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    masks = [
        (columns - chance.uniform(0, WIDTH)) ** 2 + (rows - chance.uniform(0, HEIGHT)) ** 2
        <= chance.uniform(2, 30) ** 2
        for _ in range(12)
    ]
    masks.append((columns == WIDTH - 1) & (rows == HEIGHT - 1))
    return Result(make_result(masks=[each for each in masks if each.any()]))


def at(size: int, full: int) -> NDArray[np.int64]:
    return ((np.arange(size) + 0.5) * full / size).astype(np.int64)


@pytest.mark.parametrize("shape", [(90, 140), (45, 70), (30, 47), (200, 311), (1, 1)])
@pytest.mark.parametrize("seed", [1, 2])
def test_labels_at_a_size_are_those_of_the_label_map(shape: tuple[int, int], seed: int) -> None:
    result = overlapping(seed)
    rows, columns = at(shape[0], HEIGHT), at(shape[1], WIDTH)
    assert (_labels(result, rows, columns) == result.label_map[rows[:, None], columns]).all()


def test_a_smaller_picture_of_the_image_looks_the_same() -> None:
    result = overlapping(3)
    ramp = np.add.outer(np.arange(4 * HEIGHT), np.arange(4 * WIDTH)) % 256
    full = Image.fromarray(np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=2)).resize((WIDTH, HEIGHT))
    small = np.asarray(full.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS))
    colours = SizeColours.of(result.sizes)
    drawn = [
        np.asarray(Image.open(io.BytesIO(size_overlay(result, pixels, colours, side=70).data)).convert("RGB"), float)
        for pixels in (np.asarray(full), small)
    ]
    assert drawn[0].shape == drawn[1].shape
    assert np.abs(drawn[0] - drawn[1]).mean() < 3
