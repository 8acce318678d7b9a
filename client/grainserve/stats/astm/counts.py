"""Counts grains and intercepts in one field, as ASTM E112 does."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import pi

import numpy as np
from numpy.typing import NDArray

from grainserve.stats.astm.paths import Path

Labels = NDArray[np.int32]

JUNCTION = 0.5
"""Length within a third grain, px, below which a test line passes through the junction of three grains.

A raster places a boundary to half a pixel. E112 counts such a junction as 1½ boundaries.
"""


def mean_area(labels: Labels) -> tuple[float, float]:
    """Counts whole grains.

    Large grains are whole in the frame more rarely than small ones, so each area counts 1/P in the mean, as sizes do in
    `Sample.stands_for`.

    Args:
        labels: H × W, int32; 0 on boundaries.

    Returns:
        Count, and the area of so many grains of mean area, px².
    """
    from scipy import ndimage  # noqa: PLC0415

    areas = np.bincount(labels.ravel())
    areas[0] = 0
    areas[_on_frame(labels)] = 0
    whole = np.flatnonzero(areas)
    if not whole.size:
        return 0.0, 0.0
    boxes = ndimage.find_objects(labels)
    sides = np.array([[part.stop - part.start for part in boxes[grain - 1]] for grain in whole])
    inclusion = (1 - sides / labels.shape).prod(axis=1)
    plain = areas[whole].mean()
    mean = plain + np.average(areas[whole] - plain, weights=1 / inclusion)  # exact where all grains are alike
    return float(whole.size), float(whole.size * mean)


def rectangle(labels: Labels) -> tuple[float, float]:
    """Counts the grains in the frame: cut grains as ½, grains at its corners as ¼ (Saltykov).

    Args:
        labels: H × W, int32; 0 on boundaries.

    Returns:
        Count, and the frame's area, px².
    """
    corners = set(labels[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) - {0}
    cut = set(_on_frame(labels).tolist()) - {0}
    everything = np.unique(labels[labels > 0]).size
    count = everything - len(cut) / 2 - len(corners) / 4
    return float(count), float(labels.size)


def jeffries(labels: Labels) -> tuple[float, float]:
    """Counts the grains in the largest circle in the middle of the frame: grains that the circle cuts as ½.

    Args:
        labels: H × W, int32; 0 on boundaries.

    Returns:
        Count, and the circle's area, px².
    """
    height, width = labels.shape
    radius = min(height, width) / 2
    rows, columns = np.ogrid[:height, :width]
    within = (columns + 0.5 - width / 2) ** 2 + (rows + 0.5 - height / 2) ** 2 <= radius**2
    inside = np.unique(labels[within & (labels > 0)])
    cut = np.isin(inside, np.union1d(labels[~within], _on_frame(labels)))
    return float(inside.size - np.count_nonzero(cut) / 2), pi * radius**2


def intercepts(labels: Labels, paths: Iterable[Path]) -> tuple[float, float]:
    """Counts the grains that test lines cut.

    A grain in which a line ends counts ½, so that in a field full of grains the count is that of boundaries crossed. A
    grain that a line only grazes counts ½, and so does a third grain less than `JUNCTION` of which a line cuts, so that
    the junction counts 1½ boundaries.

    A line that runs along a rastered boundary crosses the steps of the pixels again and again. So a line has entered a
    grain only where it meets a pixel with four neighbours of the same grain. Between two such places each other grain
    counts once, as when a line cuts its corner.

    Args:
        labels: H × W, int32; 0 on boundaries.
        paths: test lines.

    Returns:
        Count, and the length of the lines inside grains, px.
    """
    inner = interior(labels)
    counted = [_intercepts(labels[path.rows, path.columns], inner[path.rows, path.columns], path) for path in paths]
    return float(sum(count for count, _ in counted)), float(sum(length for _, length in counted))


def _intercepts(label: Labels, inner: NDArray[np.bool_], path: Path) -> tuple[float, float]:
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    runs, lengths = label[starts], np.add.reduceat(path.lengths, starts)
    entered = np.logical_or.reduceat(inner, starts)
    if path.closed:
        first = int(np.argmax(entered))  # cut open within a grain, whose two parts are then the ends
        runs, lengths, entered = (np.append(np.roll(each, -first), each[first]) for each in (runs, lengths, entered))
    entered[[0, -1]] = True
    stops = np.flatnonzero(entered)
    count, visited, grazed = float(runs[0] > 0), {0, int(runs[0])}, set[int]()
    for start, stop in pairwise(stops):
        between = _by_label(runs[start + 1 : stop], lengths[start + 1 : stop])
        others = {grain: length for grain, length in between.items() if grain not in {0, runs[start], runs[stop]}}
        if runs[start] == runs[stop]:
            grazed |= others.keys()
            continue
        count += float(runs[stop] > 0) + sum(0.5 if length < JUNCTION else 1.0 for length in others.values())
        visited |= {int(runs[stop]), *others}
    count += len(grazed - visited) / 2 - (float(runs[0] > 0) + float(runs[-1] > 0)) / 2
    return count, float(path.lengths[label > 0].sum())


def _by_label(runs: Labels, lengths: NDArray[np.float64]) -> dict[int, float]:
    """Returns the length of a line within each grain, px, by label."""
    total: dict[int, float] = {}
    for grain, length in zip(runs.tolist(), lengths.tolist(), strict=True):
        total[grain] = total.get(grain, 0.0) + length
    return total


def interior(labels: Labels) -> NDArray[np.bool_]:
    """Returns which pixels have four neighbours of their own label; beyond the frame it goes on."""
    inner = np.ones(labels.shape, bool)
    down, right = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    inner[1:] &= down
    inner[:-1] &= down
    inner[:, 1:] &= right
    inner[:, :-1] &= right
    return inner


def _on_frame(labels: Labels) -> Labels:
    """Returns the labels of the pixels at the frame's edges, including 0 where there is background."""
    return np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
