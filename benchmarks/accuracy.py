"""How right the grains are: a SAM, through the code that serves, beside a watershed.

    python -m benchmarks.accuracy                    everything: an hour on two cores
    python -m benchmarks.accuracy --images photographs
    python -m benchmarks.accuracy --folder rock --checkpoint training/runs/rock/sam_tiny.pth                # yours

Images are 60 synthetic ones that no training has seen (families in turn), the team's 12 annotated photographs where
they are at hand (never trained on), and scikit-image's coins. A grain is right if its IoU with a true one is 0.5 or
more, one to one. AP here is TP / (TP + FP + FN), as cell and grain tools define it. Frame-touching grains are left
out where a truth does not have them.

The watershed's recipe is the best of 108 on ten synthetic training images, one of each family.

Writes .run/accuracy/index.html, every image with its outlines, worst first, and .run/accuracy/results.json
(`make accuracy`: benchmarks/results/accuracy.json, which the README quotes).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.scored import report
from benchmarks.scored.figures import figures, mean
from benchmarks.scored.images import HELD_OUT_SEED, PHOTOGRAPHS, Known, coins, photographs, synthetic
from benchmarks.scored.watershed import Recipe, recipes
from grain_handler import models
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.folder import read
from training.serving import Finder, Served
from training.synthetic import TUNING_SEED

ACCURACY = ROOT / "benchmarks" / "results" / "accuracy.json"
console = Console()
GROUPS = ("synthetic", "photographs", "coins")
YOURS = "folder"


def watershed_f1(recipe: Recipe, training: Sequence[Known]) -> float:
    """Mean F1 of a recipe."""
    return float(np.mean([figures(recipe.find(known.image), known)["f1"] for known in training]))


def tuned_watershed(training: Sequence[Known]) -> tuple[Recipe, float]:
    """The recipe with the best mean F1 on training images, and that F1."""
    tried = list(recipes())
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        each = pool.map(watershed_f1, tried, itertools.repeat(training))
        f1 = list(track(each, "tuning the watershed", total=len(tried), console=console))
    best = int(np.argmax(f1))
    return tried[best], f1[best]


def measure(known: Known, systems: Mapping[str, Finder]) -> tuple[dict[str, Any], dict[str, NDArray[np.int32]]]:
    """One image's figures for each system, and their label maps."""
    row: dict[str, Any] = {"name": known.name, "group": known.group, "kind": known.kind}
    row["height"], row["width"] = known.labels.shape
    maps = {}
    for name, find in systems.items():
        began = time.perf_counter()
        maps[name] = find(known.image)
        row[name] = figures(maps[name], known) | {"seconds": round(time.perf_counter() - began, 3)}
    return row, maps


def summarise(rows: Sequence[Mapping[str, Any]], systems: Sequence[str]) -> dict[str, Any]:
    """Means by group and, of synthetic images, by family; and on how many images each target of the team is met."""
    summary: dict[str, Any] = {}
    families = dict.fromkeys(row["kind"] for row in rows if row["group"] == "synthetic")
    sets = {group: [row for row in rows if row["group"] == group] for group in (*GROUPS, YOURS)}
    sets |= {family: [row for row in sets["synthetic"] if row["kind"] == family] for family in families}
    for name, some in sets.items():
        if some:
            means = {system: mean([row[system] for row in some]) for system in systems}
            summary[name] = {"images": len(some)} | means
    real = sets["photographs"]
    summary["photographs_better_than_watershed"] = sum(row["sam"]["f1"] > row["watershed"]["f1"] for row in real)
    errors = [row["sam"]["d50_error"] for row in real]
    summary["photographs_d50_within_10_percent"] = sum(error is not None and abs(error) <= 0.1 for error in errors)
    return summary


SCORES = {"F1": "f1", "AP50": "ap50", "AP": "ap", "PQ": "pq", "count": "count_ratio"}
SAMPLE_ERRORS = {"D16": "d16_error", "D50": "d50_error", "D84": "d84_error"}
GRAIN_ERRORS = {"size": "diameter_error", "long": "major_axis_error", "short": "minor_axis_error"}


def show(results: Mapping[str, Any]) -> None:
    """Tables on the terminal."""
    scores = Table("images", "system", *SCORES, title="Grains found (F1 and AP50 at IoU 0.5, AP and PQ over 0.50…0.95)")
    errors = Table(
        "images",
        "system",
        *SAMPLE_ERRORS,
        *GRAIN_ERRORS,
        "turn",
        title="Errors: percentiles; diameter, axes, turn of matched grains",
    )
    for group, entry in results["summary"].items():
        for name in results["systems"] if isinstance(entry, dict) else ():
            row, system = entry[name], results["sam"]["model"] if name == "sam" else name
            known = {key: "–" if value is None else f"{value:.2f}" for key, value in row.items()}
            percent = {key: "–" if value is None else f"{value:.0%}" for key, value in row.items()}
            turn = "–" if row["orientation_error"] is None else f"{row['orientation_error']:.0f}°"
            images = f"{group} ({entry['images']})"
            scores.add_row(images, system, *(known[key] for key in SCORES.values()))
            shown = [percent[key] for key in (SAMPLE_ERRORS | GRAIN_ERRORS).values()]
            errors.add_row(images, system, *shown, turn)
    console.print(scores, errors)
    real = results["summary"].get("photographs", {}).get("images", 0)
    if real:
        console.print(
            f"Of {real} photographs: better than the watershed on "
            f"{results['summary']['photographs_better_than_watershed']}, D50 within 10 % on "
            f"{results['summary']['photographs_d50_within_10_percent']}."
        )
    elif YOURS not in results["summary"]:
        console.print("The annotated photographs (../shared/data/grains) are not at hand: left out.")


def chosen(arguments: argparse.Namespace) -> list[Known]:
    """The images asked for.

    Raises:
        Problem: There are none.
    """
    if arguments.folder:
        return [Known(each.name, YOURS, YOURS, each.image, each.labels) for each in read(arguments.folder)]
    images = [
        *(synthetic(HELD_OUT_SEED, arguments.synthetic) if "synthetic" in arguments.images else ()),
        *(photographs() if "photographs" in arguments.images else ()),
        *([coins()] if "coins" in arguments.images else ()),
    ]
    if not images:
        raise Problem(f"no image: the annotated photographs are looked for in {PHOTOGRAPHS}")
    return images


def named(text: str) -> tuple[str, str]:
    """NAME=VALUE in two."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--model", default="sam_tiny", choices=models.REGISTRY, help="(default %(default)s)")
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"))
    add("--images", nargs="+", choices=GROUPS, default=list(GROUPS))
    add("--folder", type=Path, help="a folder of annotated images instead (as training.finetune reads it)")
    add("--synthetic", type=int, default=60, metavar="N", help="held-out synthetic images (default %(default)s)")
    options = "options of a request other than the config's, such as points=grid"
    add("--option", nargs="+", action="extend", type=named, default=[], metavar="NAME=VALUE", help=options)
    add("--out", type=Path, default=ROOT / ".run" / "accuracy" / "results.json", help="raw results")
    add("--report", type=Path, default=ROOT / ".run" / "accuracy", help="folder of the HTML report")
    add("--showcase", type=Path, help="also draw the photographs 2346 and IMG_5220, as in the README")
    return made


def command(benchmark: str) -> str:
    """What was typed to run a benchmark."""
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]])


def main() -> int:
    """Measures, shows, writes."""
    arguments = parser().parse_args()
    # What may be wrong comes before what takes long.
    images = chosen(arguments)
    served = Served.read(arguments.model, arguments.checkpoint, dict(arguments.option))
    find = served.finder()
    recipe, tuned = tuned_watershed(list(synthetic(TUNING_SEED, 10)))
    systems = {"sam": find, "watershed": recipe.find}
    rows, pages = [], []
    for known in track(images, "measuring", console=console):
        row, maps = measure(known, systems)
        rows.append(row)
        pages.append(report.page(row, known, maps, arguments.report))
    results = {
        "command": command("accuracy"),
        "date": time.strftime("%Y-%m-%d"),
        "sam": served.about(),
        "watershed": dataclasses.asdict(recipe) | {"f1_on_training_images": tuned},
        "systems": list(systems),
        "summary": summarise(rows, list(systems)),
        "images": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.showcase:
        titles = {"sam": arguments.model, "watershed": "watershed"}
        report.showcase(arguments.report, ("2346", "IMG_5220"), titles, arguments.showcase)
    show(results)
    console.print(f"Pictures: {report.index(results, pages, arguments.report)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
