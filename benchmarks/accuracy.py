"""Scores the grains that a SAM finds through the serving code, beside those of a watershed and an earlier model.

    python -m benchmarks.accuracy                    everything: an hour on two cores
    python -m benchmarks.accuracy --images photographs
    python -m benchmarks.accuracy --baseline benchmarks/results/accuracy_v2.json       beside an earlier model's results
    python -m benchmarks.accuracy --folder rock --checkpoint training/runs/rock/sam_tiny.pth                # yours

The images are 60 synthetic ones that no training has seen (families in turn), the team's 12 annotated photographs if
they are available (never trained on), images of each set in ../shared/data/real that training keeps apart, and
scikit-image's coins. A found grain is right if its IoU with a true grain is 0.5 or more, one to one. AP here is
TP / (TP + FP + FN), as cell and grain tools define it. Where a truth lacks the grains that touch the frame, they are
left out.

Recall is also given by size of the true grain, px of the 1024-px frame: it explains D50.

--baseline also shows an earlier model's raw results, which this command made with that model's checkpoint and options:

    python -m benchmarks.accuracy --checkpoint V2.pth --option points=adaptive --option crop_n_layers=1 \
        --out benchmarks/results/accuracy_v2.json

The watershed's recipe is the best of 108 on ten synthetic training images, one of each family.

Writes .run/accuracy/index.html, every image with its outlines, worst first, and .run/accuracy/results.json
(`make accuracy`: benchmarks/results/accuracy.json, which docs/accuracy.md quotes).
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from benchmarks.scored import report
from benchmarks.scored.figures import SIZES, figures, summary
from benchmarks.scored.images import HELD_OUT_SEED, PHOTOGRAPHS, REAL, Known, coins, photographs, real, synthetic
from benchmarks.scored.watershed import Recipe, recipes
from grain_handler.sam import models
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.folder import read
from training.serving import Finder, Served
from training.synthetic import TUNING_SEED

ACCURACY = ROOT / "benchmarks" / "results" / "accuracy.json"
BASELINE = ACCURACY.with_name("accuracy_v2.json")
console = Console()
Item = TypeVar("Item")
TELL_EVERY = 20.0
"""Seconds between two lines of progress."""
GROUPS = ("synthetic", "photographs", "real", "coins")
YOURS = "folder"


def watershed_f1(recipe: Recipe, training: Sequence[Known]) -> float:
    """Mean F1 of a recipe."""
    return float(np.mean([figures(recipe.find(known.image), known)["f1"] for known in training]))


def progress(each: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Shows a bar on a terminal; elsewhere prints a line now and then, since some steps take minutes."""
    if console.is_terminal:
        yield from track(each, what, total=total, console=console)
        return
    told = time.monotonic()
    print(f"{what}: {total} to do", file=sys.stderr, flush=True)
    for done, item in enumerate(each, start=1):
        yield item
        if time.monotonic() - told > TELL_EVERY or done == total:
            told = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


def tuned_watershed(training: Sequence[Known]) -> tuple[Recipe, float]:
    """Returns the recipe with the best mean F1 on training images, and that F1."""
    tried = list(recipes())
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        each = pool.map(watershed_f1, tried, itertools.repeat(training))
        f1 = list(progress(each, "tuning the watershed's recipe", len(tried)))
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
    """Returns means by group, family and set, and the number of photographs on which SAM beats the watershed."""
    found: dict[str, Any] = {}
    groups = {group: [row for row in rows if row["group"] == group] for group in (*GROUPS, YOURS)}
    kinds = dict.fromkeys(row["kind"] for group in ("synthetic", "real") for row in groups[group])
    groups |= {kind: [row for row in (*groups["synthetic"], *groups["real"]) if row["kind"] == kind] for kind in kinds}
    for name, some in groups.items():
        if some:
            found[name] = {"images": len(some)} | {system: summary([row[system] for row in some]) for system in systems}
    taken = groups["photographs"]
    found["photographs_better_than_watershed"] = sum(row["sam"]["f1"] > row["watershed"]["f1"] for row in taken)
    return found


SCORES = {"F1": "f1", "AP50": "ap50", "AP": "ap", "PQ": "pq", "count": "count_ratio"}
SAMPLE_ERRORS = {"D16": "d16_error", "D50": "d50_error", "D84": "d84_error"}
GRAIN_ERRORS = {"size": "diameter_error", "long": "major_axis_error", "short": "minor_axis_error"}


def compared(results: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Returns the rows of tables: images, system and its figures; an earlier model's rows follow the model's."""
    model = results["sam"]["model"]
    for group, entry in results["summary"].items():
        if not isinstance(entry, dict):
            continue
        for name in results["systems"]:
            yield f"{group} ({entry['images']})", model if name == "sam" else name, entry[name]
            earlier = before["summary"].get(group) if before and name == "sam" else None
            if before and earlier:
                title = f"{before['sam']['model']} of {before['date']}"
                yield f"{group} ({earlier['images']})", title, earlier["sam"]


def show(results: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
    """Tables on the terminal.

    Args:
        results: raw results.
        before: raw results of an earlier model.
    """
    scores = Table("images", "system", *SCORES, title="Grains found (F1 and AP50 at IoU 0.5, AP and PQ over 0.50…0.95)")
    errors = Table(
        "images",
        "system",
        *SAMPLE_ERRORS,
        *GRAIN_ERRORS,
        "turn",
        title="Errors: percentiles; diameter, axes, turn of matched grains",
    )
    sizes = Table(
        "images",
        "system",
        *("F1", "D50", "within 10 %"),
        *SIZES,
        "s",
        title="Recall by size of the true grain, px of the 1024-px frame; D50 off by, on how many within 10 %; seconds",
    )
    for images, system, row in compared(results, before):
        scores.add_row(images, system, *(_number(row[key]) for key in SCORES.values()))
        off = [_percent(row[key]) for key in (SAMPLE_ERRORS | GRAIN_ERRORS).values()]
        turn = "–" if row["orientation_error"] is None else f"{row['orientation_error']:.0f}°"
        errors.add_row(images, system, *off, turn)
        recall = [_percent(each["matched"] / each["true"] if each["true"] else None) for each in row["sizes"].values()]
        seconds = "–" if row["seconds"] is None else f"{row['seconds']:.1f}"
        d50 = _percent(row["d50_error"]), str(row["d50_within_10_percent"])
        sizes.add_row(images, system, _number(row["f1"]), *d50, *recall, seconds)
    console.print(scores, errors, sizes)
    if "photographs" in results["summary"]:
        entry = results["summary"]["photographs"]
        console.print(
            f"Of {entry['images']} photographs: better than the watershed on "
            f"{results['summary']['photographs_better_than_watershed']}, D50 within 10 % on "
            f"{entry['sam']['d50_within_10_percent']}."
        )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def earlier(file: Path | None, out: Path) -> dict[str, Any] | None:
    """Returns an earlier model's raw results, from the named file or, without a name, from `BASELINE` if it exists.

    Args:
        file: file named on the command line.
        out: file where results will be written, which is never its own baseline.

    Raises:
        Problem: the file does not exist, or is from before this benchmark gave recall by size.
    """
    if file is None and (not BASELINE.is_file() or out.resolve() == BASELINE):
        return None
    path = file or BASELINE
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Problem(f"--baseline {path} cannot be read: {error}") from error
    groups = [entry for entry in results.get("summary", {}).values() if isinstance(entry, dict)]
    if not groups or not all("sizes" in entry.get("sam", {}) for entry in groups):
        raise Problem(f"--baseline {path} tells no recall by size: measure that model again with --out {path}")
    return results


def chosen(arguments: argparse.Namespace) -> list[Known]:
    """Returns the images that the command line asks for.

    Raises:
        Problem: there are none.
    """
    if arguments.folder:
        return [Known(each.name, YOURS, YOURS, each.image, each.labels) for each in read(arguments.folder)]
    images = [
        *(synthetic(HELD_OUT_SEED, arguments.synthetic) if "synthetic" in arguments.images else ()),
        *(photographs() if "photographs" in arguments.images else ()),
        *(real(arguments.real) if "real" in arguments.images else ()),
        *([coins()] if "coins" in arguments.images else ()),
    ]
    for group, folder in (("photographs", PHOTOGRAPHS), ("real", REAL)):
        if group in arguments.images and not any(known.group == group for known in images):
            console.print(f"Images of the group {group} are not at hand: left out. They are looked for in {folder}.")
    if not images:
        raise Problem("no image: none of the groups asked for has one")
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
    add("--real", type=int, default=4, metavar="N", help="outlined real images of each set (default %(default)s)")
    add(
        "--baseline",
        type=Path,
        help=f"raw results of an earlier model to show beside (default {BASELINE.name}, if there)",
    )
    options = "options of a request other than the config's, such as points=grid"
    add("--option", nargs="+", action="extend", type=named, default=[], metavar="NAME=VALUE", help=options)
    add("--out", type=Path, default=ROOT / ".run" / "accuracy" / "results.json", help="raw results")
    add("--report", type=Path, default=ROOT / ".run" / "accuracy", help="folder of the HTML report")
    add("--showcase", type=Path, help="also draw the photographs 2346 and IMG_5220, as in docs/accuracy.md")
    return made


def command(benchmark: str) -> str:
    """What was typed to run a benchmark."""
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *sys.argv[1:]])


def main() -> int:
    """Measures, shows, writes."""
    arguments = parser().parse_args()
    # Check what may be wrong before the work that takes long.
    images = chosen(arguments)
    before = earlier(arguments.baseline, arguments.out)
    served = Served.read(arguments.model, arguments.checkpoint, dict(arguments.option))
    find = served.finder()
    console.print(
        f"{len(images)} images to measure. Before them a watershed, to compare with, is fitted to ten synthetic ones: "
        "five minutes on two cores."
    )
    recipe, tuned = tuned_watershed(list(synthetic(TUNING_SEED, 10)))
    systems = {"sam": find, "watershed": recipe.find}
    rows, pages = [], []
    for known in progress(images, "measuring", len(images)):
        row, maps = measure(known, systems)
        rows.append(row)
        found = ", ".join(f"{name} {_number(row[name]['f1'])}" for name in systems)
        console.print(f"{escape(known.name)}: F1 {found}; {row['sam']['seconds']:.1f} s")
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
    show(results, before)
    console.print(f"Pictures: {report.index(results, pages, arguments.report)}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
