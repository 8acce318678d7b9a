"""Compares a large image measured in tiles with its truth and with single tiles: do the seams show?

    python -m benchmarks.tiles                 20 megapixels: some minutes on two cores that have nothing else to do

`grainserve analyze` measures a synthetic thin section, whose grains are known, with sam_tiny in a real TorchServe. The
benchmark counts found and true grains and compares their D50 over the whole image, over each tile by itself (with the
truth cut in the same way), and in the merged image near seams and away from them.

Writes benchmarks/results/tiles.json and docs/images/tiles.jpg, the outlines around a crossing of seams.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from grainserve import Client, Result
from grainserve.results.frame import Box
from grainserve.results.overlay import draw_overlay
from grainserve.tiles.layout import LARGEST_GRAIN, Layout
from tools import ports
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.stack import Ports, Stack
from training.synthetic import SyntheticImage, synthesize

RESULTS = ROOT / "benchmarks" / "results" / "tiles.json"
PICTURE = ROOT / "docs" / "images" / "tiles.jpg"
SEED, FAMILY, GRAIN_PX = 7005, "plane_polars", 40
WIDTH, HEIGHT = 5472, 3648
OPTIONS = ("--points-per-side", "32", "--crop-n-layers", "0")
MIN_AREA = 20
"""Smallest grain by default, px; smaller pieces of true grains do not count either."""
NEAR = 32
"""Largest distance of a grain's centre from a seam, px, to count as near it; most of these grains lie across it."""


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles", description=__doc__, add_help=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder)) as stack:
        made = synthesize(np.random.default_rng(SEED), FAMILY, HEIGHT, WIDTH, GRAIN_PX)
        row, result = measure(stack, made, Path(folder))
    picture(made, result).save(PICTURE, quality=88)
    report = {"command": "python -m benchmarks.tiles", "date": datetime.now(UTC).isoformat(timespec="seconds")} | row
    out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(out.read_text())
    return 0


def _stack(folder: Path) -> Stack:
    free = ports.choose_free(1)[0]
    return Stack(folder / "stack", model_store=folder / "store", ports=Ports.choose_free(), emulator_port=free)


def measure(stack: Stack, made: SyntheticImage, folder: Path) -> tuple[dict[str, Any], Result]:
    """Analyses an image with one command and compares it, and each of its tiles, with the truth."""
    image = folder / "section.png"
    Image.fromarray(made.image).save(image)
    began = time.monotonic()
    printed, peak = _analyze(stack, image, folder)
    seconds = time.monotonic() - began
    result = Result.from_json(folder / f"{image.stem}.json")
    layout = Layout.of(result.width, result.height, LARGEST_GRAIN)
    true, found = _middles(made.labels), _middles(result.label_map)
    tiles = [held(one, truth) for one, truth in _single_tiles(stack, result, made.labels, layout)]
    near_true, near_found = _near(layout, true[0]), _near(layout, found[0])
    return {
        "analyzed": f"grainserve analyze {image.name} {' '.join(OPTIONS)}",
        "printed": printed,
        "width": result.width,
        "height": result.height,
        "seconds": round(seconds, 1),
        "peak_mib": peak,
        "tiles": {key: result.metadata["tiles"][key] for key in ("count", "overlap", "agreement", "sharedPixels")},
        "warnings": result.metadata["warnings"],
        "f1": round(f1(result.label_map, made.labels), 4),
        "merged": held(found[1], true[1]),
        "single_tiles": {
            key: {"mean": _mean(values), "min": min(values), "max": max(values)}
            for key in ("count_ratio", "d50_ratio")
            for values in [[tile[key] for tile in tiles]]
        },
        "first_tile": tiles[0],
        "near_seams": held(found[1][near_found], true[1][near_true]),
        "elsewhere": held(found[1][~near_found], true[1][~near_true]),
    }, result


def held(found: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """Returns count and D50 (px, by number) of the found grains and of the true ones."""
    d50 = float(np.median(found)), float(np.median(true))
    return {
        "found": len(found),
        "true": len(true),
        "count_ratio": round(len(found) / len(true), 4),
        "d50_found": round(d50[0], 2),
        "d50_true": round(d50[1], 2),
        "d50_ratio": round(d50[0] / d50[1], 4),
    }


def f1(found: NDArray[np.int32], true: NDArray[np.int32]) -> float:
    """Returns 2 TP / (2 TP + FP + FN) at IoU over 0.5, one to one; `training.scoring` needs dense matrices."""
    pairs, common = np.unique(found.ravel() * np.int64(2**31) + true.ravel(), return_counts=True)
    one, other = pairs >> 31, pairs & (2**31 - 1)
    areas, true_areas = np.bincount(found.ravel()), np.bincount(true.ravel())
    iou = common / (areas[one] + true_areas[other] - common)
    matched = np.count_nonzero((iou > 0.5) & (one > 0) & (other > 0))
    return float(2 * matched / (np.count_nonzero(areas[1:]) + np.count_nonzero(true_areas[1:])))


def picture(made: SyntheticImage, result: Result, reach: int = 300) -> Image.Image:
    """Draws the merged grains around the crossing of four tiles, and the tiles' edges."""
    layout = Layout.of(result.width, result.height, LARGEST_GRAIN)
    edges = np.array([(layout.columns[1], layout.rows[1]), (layout.tiles[0].width, layout.tiles[0].height)])
    x, y = edges.mean(axis=0).astype(int).tolist()
    box = Box(x - reach, y - reach, 2 * reach, 2 * reach)
    drawn = draw_overlay(made.image[box.slices], result.label_map[box.slices], None)
    pen = ImageDraw.Draw(drawn)
    for places, colour in ((edges, "black"), (np.array([(x, y)]), "white")):
        for across, down in ((places - (box.x, box.y)) * (drawn.width / box.width)).tolist():
            for dash in range(0, drawn.width, 48):  # a continuous line would hide the grains
                pen.line((across, dash, across, dash + 20), fill=colour, width=4)
                pen.line((dash, down, dash + 20, down), fill=colour, width=4)
    return drawn


def _analyze(stack: Stack, image: Path, out: Path) -> tuple[list[str], int]:
    """Runs the command as a user would; returns what it printed, and its peak memory in MiB."""
    # Not getrusage: a child starts with its parent's peak.
    timed = "import re; from grainserve.cli.application import app; app(standalone_mode=False); " + (
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    command = [sys.executable, "-c", timed, "analyze", str(image), "--out", str(out), *OPTIONS]
    environment = {**os.environ, **stack.environment, "COLUMNS": "110"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"`grainserve analyze {image.name}` failed")
    *printed, peak = done.stdout.replace(f"{image.parent}/", "").replace(str(out), "out").splitlines()
    return [line.rstrip() for line in printed], int(peak)


def _single_tiles(
    stack: Stack, result: Result, labels: NDArray[np.int32], layout: Layout
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns found and true sizes in each tile, including cut grains."""
    for name, value in stack.environment.items():
        os.environ[name] = value
    with Client(dispatch=False) as client:
        stored = [client.store.result(image_id) for image_id in result.metadata["tiles"]["imageIds"]]
    return [
        (Result(data).sizes, _middles(labels[tile.slices])[1]) for data, tile in zip(stored, layout.tiles, strict=True)
    ]


def _middles(labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns centres (n × 2: x, y) of the bounding boxes of all grains, and equivalent diameters (n), px."""
    areas = np.bincount(labels.ravel())
    boxes = ndimage.find_objects(labels)
    kept = [label for label in range(1, len(areas)) if areas[label] >= MIN_AREA]
    places = [[(each.start + each.stop) / 2 for each in boxes[label - 1][::-1]] for label in kept]
    return np.array(places), np.sqrt(4 * areas[kept] / np.pi)


def _near(layout: Layout, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    distances = [
        np.abs(places[:, axis, None] - (np.array(starts[1:]) + starts[:-1] + layout.tiles[0].width) / 2).min(axis=1)
        for axis, starts in enumerate((layout.columns, layout.rows))
    ]
    return np.minimum(*distances) <= NEAR


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


if __name__ == "__main__":
    main_exit(main)
