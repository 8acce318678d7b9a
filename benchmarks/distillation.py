"""Distils a fine-tuned sam_tiny into a model of half its size, and measures agreement and accuracy of the two.

    python -m benchmarks.finetuning                # makes the teacher: fold 0, nine photographs
    python -m benchmarks.distillation

The student, sam_nano, learns from the nine photographs without their labels and from synthetic images, as
`python -m training.distill` does. Both are scored on the three photographs that neither saw and on ten held-out
synthetic images, through the code that serves. Agreement is the F1 of the student's grains against the teacher's.

An existing student is not taught again: its run is .run/distillation, which is refused if it was begun with another
teacher, other photographs or other settings. Writes benchmarks/results/distillation.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import command
from benchmarks.finetuning import RUNS as TUNED
from benchmarks.finetuning import fold_of
from benchmarks.scored.figures import figures
from benchmarks.scored.images import HELD_OUT_SEED, Known, photographs, synthetic
from grain_handler.sam.models import REGISTRY
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training import distill
from training.serving import Served

RUN = ROOT / ".run" / "distillation"
console = Console()


def compare(both: Mapping[str, Served], images: Sequence[Known]) -> list[dict[str, Any]]:
    """Returns F1 of teacher and student, their agreement, and the seconds that each took."""
    systems = {name: served.finder() for name, served in both.items()}
    rows = []
    for known in images:
        row: dict[str, Any] = {"name": known.name, "group": known.group}
        maps = {}
        for name, find in systems.items():
            began = time.perf_counter()
            maps[name] = find(known.image)
            row[f"{name}_seconds"] = round(time.perf_counter() - began, 3)
            row[f"{name}_f1"] = figures(maps[name], known)["f1"]
        believed = replace(known, labels=maps["teacher"], cut_grains=True)
        row["agreement"] = figures(maps["student"], believed)["f1"]
        rows.append(row)
        console.print(row)
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns means by group."""
    keys = ("teacher_f1", "student_f1", "agreement", "teacher_seconds", "student_seconds")
    groups = dict.fromkeys(row["group"] for row in rows)
    return {
        group: {key: float(np.mean([row[key] for row in rows if row["group"] == group])) for key in keys}
        for group in groups
    }


def fill(folder: Path, images: Sequence[Known]) -> None:
    """Fills the folder with these images, without labels, and removes everything else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for known in images:
        Image.fromarray(known.image).save(folder / f"{known.name}.png")


def parameters(model: str) -> int:
    """Returns a model's number of parameters."""
    return sum(parameter.numel() for parameter in REGISTRY[model]().parameters())


def main() -> int:
    """Distils, compares, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--teacher", type=Path, default=TUNED / "full_0" / "sam_tiny.pth", help="(default: of benchmarks.finetuning)")
    add("--embedding-steps", default="1500", help="(default %(default)s)")
    add("--mask-steps", default="1000", help="(default %(default)s)")
    add("--out", type=Path, default=ROOT / "benchmarks" / "results" / "distillation.json", help="raw results")
    arguments = parser.parse_args()

    images = list(photographs())
    if not images or not arguments.teacher.exists():
        raise Problem(f"{arguments.teacher} or ../shared/data/grains is not at hand: run benchmarks.finetuning first")
    learnt, scored = fold_of(images, 0)
    unlabelled = RUN / "images"
    fill(unlabelled, learnt)
    settings = ["--embedding-steps", arguments.embedding_steps, "--mask-steps", arguments.mask_steps]
    where = ["--images", str(unlabelled), "--run", str(RUN), "--teacher-checkpoint", str(arguments.teacher)]
    distilled = distill.run_distillation(distill.parser().parse_args([*settings, *where]))
    both = {
        "teacher": Served.read("sam_tiny", str(arguments.teacher)),
        "student": Served.read("sam_nano", str(RUN / "sam_nano.pth")),
    }
    rows = compare(both, [*scored, *synthetic(HELD_OUT_SEED, 10)])
    summary = summarise(rows)
    results = {
        "command": command("distillation"),
        "date": time.strftime("%Y-%m-%d"),
        "settings": settings,
        "checkpoint_crc32c": {name: served.checkpoint.crc32c for name, served in both.items()},
        "parameters": {name: parameters(name) for name in ("sam_tiny", "sam_nano")},
        "agreement_on_prompts": distilled.history,
        "summary": summary,
        "images": rows,
    }
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    table = Table("images", "F1 of the teacher", "of the student", "agreement", "seconds, teacher", "student")
    for group, row in summary.items():
        table.add_row(group, *(f"{value:.3f}" for value in row.values()))
    console.print(table)
    return 0


if __name__ == "__main__":
    main_exit(main)
