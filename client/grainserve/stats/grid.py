"""Grid-by-number samples: the grains under the nodes of a square grid, as of a pebble count (Wolman 1954)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.stats.sample import Sample

NODES_ACROSS = 12
"""Number of default spacings in a frame's width, as in ImageGrains (Mair et al. 2024)."""
INSET = 0.1
"""Share of the frame that the grid keeps away from each side, as in ImageGrains, so that few grains are cut."""


def on_grid(sample: Sample, spacing: float | None = None) -> Sample:
    """Returns the sample of the grains that a grid hits; a grain under several nodes is taken once.

    Large grains are hit more often, so that counting each grain that was hit is nearly to weight all grains by area.

    Args:
        sample: sample with masks.
        spacing: distance between nodes, in the sample's unit; None takes a twelfth of each frame's width. Wider than
            the largest grain, no grain is under two nodes.

    Raises:
        InvalidOption: the spacing is not over a pixel.
        MasksMissing: results hold no masks.
    """
    hit = np.concatenate([_hit(sample, index, spacing) for index in range(len(sample.images))])
    kept = {
        field.name: values[hit]
        for field in dataclasses.fields(sample)
        if field.name != "frames" and isinstance(values := getattr(sample, field.name), np.ndarray)
    }
    return dataclasses.replace(sample, **kept, grid=True)


def nodes(length: int, spacing: float) -> NDArray[np.int64]:
    """Returns the pixels that nodes fall on, from one inset to the other.

    Args:
        length: side of the frame, px.
        spacing: distance between nodes, px, at least 1.
    """
    return np.round(np.arange(INSET * length, (1 - INSET) * length, spacing)).astype(np.int64)


def _hit(sample: Sample, index: int, spacing: float | None) -> NDArray[np.bool_]:
    result = sample.results[index]
    labels = result.label_map[result.frame.slices]
    height, width = labels.shape
    apart = width / NODES_ACROSS if spacing is None else spacing / (result.um_per_px or 1.0)
    if not apart >= 1:
        raise InvalidOption(f"the grid's spacing is {apart:g} px in image {sample.images[index]}; it must be 1 or more")
    under = labels[np.ix_(nodes(height, apart), nodes(width, apart))]
    return np.isin([grain.id for grain in result.grains], under)
