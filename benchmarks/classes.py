"""Measures how well a classifier tells synthetic minerals apart, and whether it refuses a mineral it was never shown.

    python -m benchmarks.classes                         # 2 to 5 minutes on two cores, most of it SAM
    python -m benchmarks.classes --masks truth           # 15 s: on the true outlines only

Thin sections with known minerals (training.minerals) are measured as the worker measures, labelled with the truth and
written as tables. `grainserve classifier train` learns from six of them, and the worker's own code names the grains of
six others: once on the true outlines, once on those that sam_tiny finds, where a grain's true mineral is that of most
of its pixels. Then each mineral in turn is left out of the tables. Writes benchmarks/results/classes.json and, for the
last outlines, docs/images/classes.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy import command
from benchmarks.scored.minerals import draw
from grain_handler.grains import classify, texture
from grain_handler.grains.classify import UNKNOWN, Named
from grain_handler.grains.measure import Properties, measure_labels
from grain_handler.storage import weights
from grainserve.classifier.labelled import read_labelled
from grainserve.classifier.model import Classifier
from grainserve.classifier.train import train
from grainserve.cli.classifier_card import print_card
from tools.mar import ROOT
from tools.problem import main_exit
from training.minerals import MINERALS, Section, draw_section
from training.serving import Finder, Served

SEED = 1_310_000
"""First random seed of the reported sections, which were used for nothing else. The classifier's features, its distance
to labelled grains and the share of grains that it may refuse were chosen on sections from 910 000."""

RESULTS = ROOT / "benchmarks" / "results" / "classes.json"
PICTURE = ROOT / "docs" / "images" / "classes.png"
console = Console()


@dataclass(frozen=True)
class Measured:
    """A section's grains as a worker measures them, with their true minerals.

    Attributes:
        section: image with its true minerals.
        labels: label map of the grains, H × W, int32.
        properties: measurements of the n grains.
        minerals: true minerals of the n grains.
    """

    section: Section
    labels: NDArray[np.int32]
    properties: Sequence[Properties]
    minerals: NDArray[np.str_]


def measured(section: Section, labels: NDArray[np.int32]) -> Measured:
    """Measures grains; drops those that lie mostly on the section's ground."""
    count = int(labels.max())
    names = np.array(["ground", *MINERALS])
    truth = np.array([0, *(names.tolist().index(name) for name in section.minerals)])[section.labels]
    shares = np.stack([np.bincount(labels.ravel(), (truth == i).ravel(), count + 1) for i in range(len(names))])
    minerals = names[shares.argmax(axis=0)]
    minerals[0] = "ground"
    kept = np.flatnonzero(minerals != "ground")
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    labels = renumbered[labels]
    properties = measure_labels(labels, section.image, [0] * len(kept), None)
    return Measured(section, labels, properties, minerals[kept])


def taught(series: Sequence[Measured], without: str, folder: Path) -> tuple[Classifier, classify.Classifier]:
    """Trains on tables as `analyze` writes them, with the class filled in; returns client's and worker's classifier.

    Args:
        series: images to learn from.
        without: mineral whose grains are not labelled.
        folder: folder for the files.
    """
    tables = []
    for number, image in enumerate(series):
        rows = [dict(classify.columns(properties)) for properties in image.properties]
        labels = np.where(image.minerals == without, "", image.minerals)
        tables.append(folder / f"{number}.csv")
        pd.DataFrame(rows).assign(**{"class": labels}).dropna(axis=0).to_csv(tables[-1], index=False)
    classifier = train(read_labelled(tables))
    classifier.save(folder / "minerals.skops")
    return classifier, classify.load(weights.fetch(str(folder / "minerals.skops"), folder))


def figures(tests: Sequence[Measured], named: Sequence[Sequence[Named]]) -> dict[str, Any]:
    """Returns the figures of the names given to grains of other images."""
    truth = np.concatenate([image.minerals for image in tests])
    names = np.array([each.name for image in named for each in image])
    is_named = names != UNKNOWN
    columns = [*MINERALS, UNKNOWN]
    return {
        "grains": len(truth),
        "named": round(float(is_named.mean()), 4),
        "named_rightly": round(float((names == truth)[is_named].mean()), 4),
        "confusion": {
            row: {name: int(((truth == row) & (names == name)).sum()) for name in columns} for row in MINERALS
        },
        "unknown": {row: round(float((names[truth == row] == UNKNOWN).mean()), 4) for row in MINERALS},
    }


def tried(learnt: Sequence[Measured], tests: Sequence[Measured]) -> tuple[dict[str, Any], list[list[Named]]]:
    """Returns all figures for one kind of outlines, and the name given to each grain."""
    with tempfile.TemporaryDirectory() as folder:
        classifier, worker = taught(learnt, "", Path(folder))
        print_card(classifier, console)
        named = [worker.name(image.properties) for image in tests]
        results = {"classifier": classifier.card | {"threshold": classifier.threshold}, "test": figures(tests, named)}
        left_out = {}
        for mineral in MINERALS:
            _, without = taught(learnt, mineral, Path(folder))
            row = figures(tests, [without.name(image.properties) for image in tests])
            left_out[mineral] = {"unknown": row["unknown"][mineral], "taken_for": row["confusion"][mineral]}
    return results | {"left_out": left_out}, named


def cost() -> dict[str, float]:
    """Measures processor time of texture and classes for one image of 1024 × 1024 px, ms; medians of ten."""
    section = draw_section(np.random.default_rng(SEED), height=1024, width=1024, grain_px=42)
    image = measured(section, section.labels)
    with tempfile.TemporaryDirectory() as folder:
        _, worker = taught([image], "", Path(folder))

        def took(step: Callable[[], object]) -> float:
            times = []
            for _ in range(10):
                began = time.process_time()
                step()
                times.append(1000 * (time.process_time() - began))
            return round(statistics.median(times), 1)

        return {
            "grains": len(image.properties),
            "texture_ms": took(lambda: texture.describe(section.labels, section.image)),
            "classes_ms": took(lambda: worker.name(image.properties)),
        }


def show(results: Mapping[str, Any]) -> None:
    """Prints a summary."""
    for masks, row in results["masks"].items():
        test, left_out = row["test"], row["left_out"]
        console.print(
            f"{masks}: {test['grains']} grains of other images, {test['named']:.1%} named, of those "
            f"{test['named_rightly']:.1%} rightly; unknown when left out of training: "
            + ", ".join(f"{name} {each['unknown']:.0%}" for name, each in left_out.items()),
            soft_wrap=True,
        )


def main() -> int:
    """Trains, tests, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6, metavar="N", help="to learn from, and to test on")
    parser.add_argument("--masks", nargs="+", choices=("truth", "sam_tiny"), default=["truth", "sam_tiny"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="raw results")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    sections = [draw_section(np.random.default_rng(SEED + i), grain_px=36) for i in range(2 * arguments.images)]
    # Enlarged crops are only for small grains, and take five times as long.
    served = Served.read("sam_tiny", str(ROOT / "weights" / "sam_tiny.pth"), {"crop_n_layers": "0"})
    results: dict[str, Any] = {
        "command": command("classes"),
        "date": time.strftime("%Y-%m-%d"),
        "sam": served.about(),
        "cost": cost(),
        "masks": {},
    }
    for masks in arguments.masks:
        find: Finder | None = served.finder() if masks == "sam_tiny" else None
        images = [measured(each, find(each.image) if find else each.labels) for each in sections]
        learnt, tests = images[: arguments.images], images[arguments.images :]
        results["masks"][masks], named = tried(learnt, tests)
        draw(tests[0].section, tests[0].labels, [each.name for each in named[0]], arguments.picture)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    return 0


if __name__ == "__main__":
    main_exit(main)
