"""The figures of one image: how many grains are right, and the errors of sizes and orientations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops_table

from benchmarks.scored.images import Known
from training.scoring import THRESHOLDS, score, without_cut_grains

MEASURED = ("label", "equivalent_diameter_area", "axis_major_length", "axis_minor_length", "orientation")
ELONGATED = 1.2
"""Least aspect ratio of a grain that has a meaningful orientation."""

PERCENTILES = (16, 50, 84)

FRAME = 1024
SIZES = {"< 16": 16.0, "16 to 32": 32.0, "32 to 64": 64.0, "> 64": np.inf}
"""Size classes of true grains: upper limits of the equivalent diameter, px of the model's frame."""

WITHIN = 0.1
"""Largest relative error of a D50 that is useful to a lab."""


def figures(found: NDArray[np.int32], known: Known) -> dict[str, Any]:
    """Scores a label map.

    Args:
        found: label map, H × W, int32.
        known: image with its truth.

    Returns:
        F1 and AP at IoU 0.5, AP and PQ averaged over 0.50:0.05:0.95, count ratio, relative errors of D16, D50, D84
        (equivalent diameters by number), and medians over matched grains: absolute relative errors of diameter and
        axes, and the angle between orientations, degrees. None if there is nothing to compare. Also, by size of the
            true grain, the numbers of true and of matched grains.
    """
    true = known.labels
    if not known.cut_grains:
        found, true = without_cut_grains(found), without_cut_grains(true)
    result = score(found, true)
    mine, its = (regionprops_table(labels, properties=MEASURED) for labels in (found, true))
    return {
        "f1": result.f1,
        "ap50": result.average_precision(0.5),
        "ap": float(np.mean([result.average_precision(t) for t in THRESHOLDS])),
        "pq": float(np.mean([result.panoptic_quality(t) for t in THRESHOLDS])),
        "found": result.found,
        "true": result.true,
        "matched": result.matched,
        "count_ratio": result.found / result.true if result.true else None,
        **_percentile_errors(mine, its),
        **_grain_errors(mine, its, result.pairs),
        "sizes": _by_size(its, result.pairs, FRAME / max(true.shape)),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarises a system's figures of several images.

    Returns:
        The means of all numbers, the number of images whose D50 is off by `WITHIN` at most, and the numbers of true and
            of matched grains of each size class in all images.
    """
    errors = [row["d50_error"] for row in rows]
    within = sum(error is not None and abs(error) <= WITHIN for error in errors)
    sizes = {
        name: {part: sum(row["sizes"][name][part] for row in rows) for part in ("true", "matched")} for name in SIZES
    }
    return mean(rows) | {"d50_within_10_percent": within, "sizes": sizes}


def mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Returns the means over images of all numbers; None where no image has a number."""
    means: dict[str, float | None] = {}
    for key in (
        "f1",
        "ap50",
        "ap",
        "pq",
        "count_ratio",
        "d16_error",
        "d50_error",
        "d84_error",
        *GRAIN_ERRORS,
        "seconds",
    ):
        values = [row[key] for row in rows if row.get(key) is not None]
        # Errors of opposite sign must not cancel.
        values = [abs(value) for value in values] if key.startswith("d") else values
        means[key] = float(np.mean(values)) if values else None
    return means


GRAIN_ERRORS = ("diameter_error", "major_axis_error", "minor_axis_error", "orientation_error")


def _percentile_errors(mine: Mapping[str, NDArray[Any]], its: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    sizes, true = mine["equivalent_diameter_area"], its["equivalent_diameter_area"]
    if len(sizes) == 0 or len(true) == 0:
        return {f"d{p}_error": None for p in PERCENTILES}
    return {f"d{p}_error": float(np.percentile(sizes, p) / np.percentile(true, p) - 1) for p in PERCENTILES}


def _grain_errors(
    mine: Mapping[str, NDArray[Any]], its: Mapping[str, NDArray[Any]], pairs: NDArray[np.int64]
) -> dict[str, float | None]:
    if len(pairs) == 0:
        return dict.fromkeys(GRAIN_ERRORS)
    here, there = np.searchsorted(mine["label"], pairs[:, 0]), np.searchsorted(its["label"], pairs[:, 1])

    def off(name: str) -> float:
        return float(np.median(np.abs(mine[name][here] / np.maximum(its[name][there], 1e-9) - 1)))

    long = its["axis_major_length"][there] >= ELONGATED * its["axis_minor_length"][there]
    turn = np.degrees(mine["orientation"][here] - its["orientation"][there])[long]
    turn = np.abs((turn + 90) % 180 - 90)
    return {
        "diameter_error": off("equivalent_diameter_area"),
        "major_axis_error": off("axis_major_length"),
        "minor_axis_error": off("axis_minor_length"),
        "orientation_error": float(np.median(turn)) if len(turn) else None,
    }


def _by_size(its: Mapping[str, NDArray[Any]], pairs: NDArray[np.int64], scale: float) -> dict[str, dict[str, int]]:
    classes = np.searchsorted(list(SIZES.values()), scale * its["equivalent_diameter_area"], side="right")
    matched = np.isin(its["label"], pairs[:, 1])
    true, found = (np.bincount(some, minlength=len(SIZES)).tolist() for some in (classes, classes[matched]))
    return {name: {"true": true[i], "matched": found[i]} for i, name in enumerate(SIZES)}
