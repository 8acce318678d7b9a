"""Measures what fine-tuning on nine photographs brings on three others, and what the model forgets on synthetic images.

    make accuracy                                        # the figures before
    python -m benchmarks.finetuning                      # four folds over the team's twelve photographs
    python -m benchmarks.finetuning --encoder frozen --folds 1

Each fold learns from seven of its nine photographs, as `python -m training.finetune` does; the other two only tell when
to stop. It is scored on the remaining three and on five held-out synthetic images (what it forgets), through the
serving code, with the options of config/sam_tiny.yaml. So every photograph is scored once, by a model that never saw
it. In six of the twelve photographs grains that touch the frame are unlabelled: scoring skips them, but they are learnt
as ground.

A finished fold is not run again: its run is in .run/finetuning, which is refused if it was begun with other weights,
photographs or settings. Writes benchmarks/results/finetuning.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import ACCURACY, command
from benchmarks.scored.figures import figures
from benchmarks.scored.images import HELD_OUT_SEED, PHOTOGRAPHS, Known, photographs, synthetic
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training import finetune
from training.folder import Annotated, split
from training.serving import Served

FOLDS = 4
RUNS = ROOT / ".run" / "finetuning"
SHOWN = ("f1", "ap50", "pq", "count_ratio", "d50_error", "found", "true", "matched")
console = Console()


def fold_of(images: Sequence[Known], fold: int) -> tuple[list[Known], list[Known]]:
    """Returns photographs to learn from and to score; every fourth is scored, which spreads each series over folds."""
    return [known for i, known in enumerate(images) if i % FOLDS != fold], list(images[fold::FOLDS])


def scores(served: Served, images: Sequence[Known]) -> dict[str, dict[str, Any]]:
    """Returns figures by image."""
    find = served.finder()
    rows = {}
    for known in images:
        row = figures(find(known.image), known)
        rows[known.name] = {key: row[key] for key in SHOWN}
        console.print(f"  {known.name}: F1 {row['f1']:.3f}")
    return rows


def scores_before(accuracy: Path, about: Mapping[str, Any], images: Sequence[Known]) -> dict[str, dict[str, Any]]:
    """Returns the figures of `make accuracy`, by image.

    Args:
        accuracy: raw results of `make accuracy`.
        about: checkpoint and options served now.
        images: images whose figures are wanted.

    Raises:
        Problem: the figures are absent, or of another checkpoint or other options than those served now.
    """
    remedy = "run `make accuracy` first"
    if not accuracy.exists():
        raise Problem(f"{accuracy} is absent: {remedy}")
    measured = json.loads(accuracy.read_text())
    if measured["sam"] != about:
        raise Problem(f"{accuracy} is of another checkpoint or other options: {remedy}")
    rows = {row["name"]: {key: row["sam"][key] for key in SHOWN} for row in measured["images"]}
    missing = [known.name for known in images if known.name not in rows]
    if missing:
        raise Problem(f"{accuracy} is without {', '.join(missing)}: {remedy}")
    return rows


def mean_f1(folds: Sequence[dict[str, Any]], key: str) -> float:
    """Returns the mean over the images of all folds."""
    return float(np.mean([row["f1"] for fold in folds for row in fold[key].values()]))


def tune(images: Sequence[Known], run: Path, given: Sequence[str]) -> dict[str, Any]:
    """Fine-tunes sam_tiny on these photographs; returns the entry for the raw results."""
    arguments = finetune.parser().parse_args(["--data", str(PHOTOGRAPHS), "--run", str(run), *given])
    annotated = [Annotated(known.name, known.image, known.labels) for known in images]
    learnt, kept = split(annotated, arguments.seed)
    tuning = finetune.run_tuning(arguments, annotated)
    names = {"learnt": [each.name for each in learnt], "told_when_to_stop": [each.name for each in kept]}
    return {"steps": tuning.step, "best_step": tuning.best.step, **names}


def show(folds: Sequence[dict[str, Any]]) -> None:
    """Prints a line for each photograph, then the means."""
    table = Table("photograph", "fold", "F1 before", "F1 after", "D50 before", "D50 after")
    for number, fold in enumerate(folds):
        for name, before in fold["before"].items():
            after = fold["after"][name]
            errors = (
                "–" if row["d50_error"] is None else f"{100 * row['d50_error']:+.0f} %" for row in (before, after)
            )
            table.add_row(name, str(number), f"{before['f1']:.3f}", f"{after['f1']:.3f}", *errors)
    for title, key in (("photographs", ""), ("synthetic images", "synthetic_")):
        table.add_row(f"mean of {title}", "", *(f"{mean_f1(folds, key + when):.3f}" for when in ("before", "after")))
    console.print(table)


def main() -> int:
    """Tunes, scores, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--encoder", default="full", choices=finetune.ENCODERS, help="(default %(default)s)")
    add("--steps", default="500", help="of each fold, at most (default %(default)s)")
    add("--lr", default="2e-4", help="peak learning rate (default %(default)s)")
    add("--folds", type=int, default=FOLDS, help="do so many of the four (default: all)")
    add("--out", type=Path, default=ROOT / "benchmarks" / "results" / "finetuning.json", help="raw results")
    arguments = parser.parse_args()

    images = list(photographs())
    if not images:
        raise Problem("the annotated photographs (../shared/data/grains) are not at hand")
    settings = ["--encoder", arguments.encoder, "--steps", arguments.steps, "--lr", arguments.lr]
    held_out = list(synthetic(HELD_OUT_SEED, 5 * FOLDS))
    begun = Served.read("sam_tiny", str(ROOT / "weights" / "sam_tiny.pth"))
    known_before = scores_before(ACCURACY, begun.about(), [*images, *held_out])
    folds = []
    for number in range(arguments.folds):
        given, scored = fold_of(images, number)
        console.print(f"fold {number}: {', '.join(known.name for known in scored)} are scored")
        run = RUNS / f"{arguments.encoder}_{number}"
        fold = tune(given, run, [*settings, "--checkpoint", begun.checkpoint.uri])
        tuned = Served.read("sam_tiny", str(run / "sam_tiny.pth"))
        fold["checkpoint_crc32c"] = tuned.checkpoint.crc32c
        for key, some in (("", scored), ("synthetic_", held_out[number::FOLDS])):
            fold[f"{key}before"] = {known.name: known_before[known.name] for known in some}
            fold[f"{key}after"] = scores(tuned, some)
        folds.append(fold)
    results = {
        "command": command("finetuning"),
        "date": time.strftime("%Y-%m-%d"),
        "settings": settings,
        "checkpoint_crc32c": begun.checkpoint.crc32c,
        "f1_before": mean_f1(folds, "before"),
        "f1_after": mean_f1(folds, "after"),
        "synthetic_f1_before": mean_f1(folds, "synthetic_before"),
        "synthetic_f1_after": mean_f1(folds, "synthetic_after"),
        "folds": folds,
    }
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    show(folds)
    return 0


if __name__ == "__main__":
    main_exit(main)
