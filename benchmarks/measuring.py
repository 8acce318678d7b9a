"""Seconds to measure 600 grains at 1024 px, beside scikit-image's regionprops, on one core.

    python -m benchmarks.measuring        a minute, on a machine that does nothing else

In turns: our `measure_labels`, and a loop over regionprops that reads what it has of the same keys. What both have is
compared. Touching grains (a polycrystal) and separate ones (gravel), by wall clock and by this process's processor
time, which a busy machine changes less. Writes benchmarks/results/measuring.json and the table in docs/measurement.md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from skimage.measure import regionprops

from benchmarks import page
from grain_handler.measure import measure_labels
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.synthetic import synthesize

PAGE = ROOT / "docs" / "measurement.md"
RESULTS = ROOT / "benchmarks" / "results" / "measuring.json"
GRAINS, SIDE, SEED = 600, 1024, 2026
GRAIN_PX = {"polycrystal": 31, "gravel": 30}
"""Makes a little over 600 grains; those over are left out."""
OURS, PLAIN = 21, 5
"""Runs: ours are short."""

SAME: Mapping[str, Callable[[Any], Any]] = {
    "boundingBox": lambda region: region.bbox,
    "area": lambda region: region.area,
    "perimeter": lambda region: region.perimeter_crofton,
    "equivalentDiameter": lambda region: region.equivalent_diameter_area,
    "majorAxisLength": lambda region: region.axis_major_length,
    "minorAxisLength": lambda region: region.axis_minor_length,
    "orientation": lambda region: np.degrees(region.orientation),
    "centroid": lambda region: region.centroid,
    "solidity": lambda region: region.solidity,
    "eccentricity": lambda region: region.eccentricity,
    "meanIntensity": lambda region: region.intensity_mean,
    "intensityStd": lambda region: region.intensity_std,
}
"""What regionprops has too."""


def plain(labels: NDArray[np.int32], image: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The loop; its Feret diameter is of a contour and no more than the largest, so it is read and not compared."""
    return [
        {key: read(region) for key, read in SAME.items()} | {"feret": region.feret_diameter_max}
        for region in regionprops(labels, intensity_image=image)
    ]


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """The largest relative difference of one grain's values; of the orientation, in turns."""
    worst = 0.0
    for key in SAME:
        mine, its = ours[key], theirs[key]
        if key == "boundingBox":
            mine = [mine["y"], mine["x"], mine["y"] + mine["height"], mine["x"] + mine["width"]]
        elif key == "centroid":
            mine = [mine["y"], mine["x"]]
        elif key == "orientation":
            mine, its = 1 + abs((mine - its + 90) % 180 - 90) / 180, 1
        off = np.abs(np.subtract(mine, its)) / np.maximum(np.abs(its), 1e-12)
        worst = max(worst, float(np.max(np.where(np.equal(mine, its), 0, off))))
    return worst


def timed(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds, by the clock and of this process's processor time."""
    wall, busy = time.perf_counter(), time.process_time()
    step()
    return {"wall_ms": (time.perf_counter() - wall) * 1e3, "processor_ms": (time.process_time() - busy) * 1e3}


def scene(family: str) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """A label map of 600 grains, and its image.

    Raises:
        Problem: The family made fewer.
    """
    made = synthesize(np.random.default_rng(SEED), family, SIDE, SIDE, GRAIN_PX[family])
    if made.labels.max() < GRAINS:
        raise Problem(f"{family} made {made.labels.max()} grains: lower its GRAIN_PX")
    return np.where(made.labels > GRAINS, 0, made.labels), made.image


def measure(family: str) -> dict[str, Any]:
    """Times one scene, both ways in turns."""
    labels, image = scene(family)

    def ours() -> list[dict[str, Any]]:
        return measure_labels(labels, image, [0] * GRAINS, 0.5)

    pairs = zip(ours(), plain(labels, image), strict=True)
    worst = max(difference(mine, its) for mine, its in pairs)
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "regionprops": []}
    for turn in range(OURS):
        runs["ours"].append(timed(ours))
        if turn % (OURS // PLAIN) == 0 and len(runs["regionprops"]) < PLAIN:
            runs["regionprops"].append(timed(lambda: plain(labels, image)))
    medians = {
        name: {clock: round(statistics.median(run[clock] for run in some), 2) for clock in some[0]}
        for name, some in runs.items()
    }
    return {
        "grains": GRAINS,
        "side": SIDE,
        "covered": round(float((labels > 0).mean()), 3),
        "largest_relative_difference": worst,
        "median": medians,
        "runs": {
            name: [{clock: round(ms, 2) for clock, ms in run.items()} for run in some] for name, some in runs.items()
        },
    }


def table(scenes: Mapping[str, Any]) -> str:
    """The table of docs/measurement.md."""
    lines = [
        "| grains | ours, ms | regionprops, ms | times as fast | largest relative difference |",
        "|---|--:|--:|--:|--:|",
    ]
    for family, row in scenes.items():
        ours, theirs = (row["median"][name] for name in ("ours", "regionprops"))
        both = (f"{each['wall_ms']:.0f} ({each['processor_ms']:.0f})" for each in (ours, theirs))
        ratio = theirs["processor_ms"] / ours["processor_ms"]
        worst = row["largest_relative_difference"]
        lines.append(f"| {family} | {' | '.join(both)} | {ratio:.0f} | {worst:.0e} |")
    return "\n".join(lines)


def main() -> int:
    """Measures, shows, writes."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit_image": version("scikit-image"),
        "processor": platform.processor() or platform.machine(),
        "cores_used": 1,
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }
    scenes = {family: measure(family) for family in GRAIN_PX}
    machine["load_after"] = [round(load, 2) for load in os.getloadavg()]
    RESULTS.write_text(json.dumps({"machine": machine, "scenes": scenes}, indent=1) + "\n")
    text = table(scenes)
    page.put(PAGE, "measuring", text)
    Console().print(text, soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
