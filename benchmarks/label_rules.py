"""Tries other rules of the label map on the masks that seeds give.

    python -m benchmarks.label_rules                      ten minutes on one core

The images are those of benchmarks.seed_choices: neither trained on nor the benchmark's. Their masks are made once, as
in serving. Then each rule changes one number of `grain_handler.grains.label_map`, which shows its effect.

Writes benchmarks/results/label_rules.json and the table in docs/seeds.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.progress import track

from benchmarks import page, seed_choices
from benchmarks.scored.figures import figures
from benchmarks.scored.images import Known
from grain_handler.grains import label_map
from grain_handler.masks import Mask
from grain_handler.segment import mask_settings, settle
from grain_handler.wire.options import Options
from tools.mar import ROOT
from tools.problem import main_exit
from training.serving import Served

RESULTS = ROOT / "benchmarks" / "results" / "label_rules.json"
TRIED = {
    "DUPLICATE_IOU": (0.6, 0.7, 0.9),
    "CONTAINED": (0.7, 0.8, 0.95),
    "CLUSTER_COVER": (0.5, 0.6, 0.8, 0.9),
    "TIE": (-0.05, 0.0, 0.02, 0.1, 0.2),
    "KEPT_SHARE": (0.3, 0.4, 0.6, 0.7),
}
"""Name of a rule's number → other values to try; `label_map` explains each. A TIE below zero
drops a cluster only if its grains score better by that much."""

console = Console()


@dataclass(frozen=True)
class Masked:
    """An image and SAM's masks of it."""

    known: Known
    masks: Sequence[Mask]
    options: Options

    def figures(self) -> dict[str, Any]:
        """Finds the image's grains by the present rules; returns the case."""
        found = settle(self.masks, self.options, *self.known.labels.shape).labels
        row = figures(found, self.known)
        about = {"image": self.known.name, "group": self.known.group, "kind": self.known.kind}
        return about | {key: row[key] for key in ("f1", "d50_error", "found", "true", "matched")}


def with_masks(served: Served, some: Sequence[Known]) -> list[Masked]:
    """Makes the masks of each image, as in serving."""
    generator, options = served.generator(), served.options
    return [
        Masked(known, generator.generate(known.image, mask_settings(options, *known.labels.shape)), options)
        for known in track(some, "masks", console=console)
    ]


def tried(masked: Sequence[Masked]) -> dict[str, list[dict[str, Any]]]:
    """Returns the figures of each image by rule; the first rule changes nothing."""
    results = {"as served": [each.figures() for each in masked]}
    for name, values in TRIED.items():
        for value in track(values, name, console=console):
            with patch.object(label_map, name, value):
                results[f"{name} {value}"] = [each.figures() for each in masked]
    return results


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Returns the table of rules; in its means each set and family has the same weight."""
    lines = ["| | real: F1 | D50 off by | synthetic: F1 | D50 off by |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {_worded(name)} | {seed_choices.scores(rows)} |" for name, rows in results.items()]
    return "\n".join(lines)


def _worded(name: str) -> str:
    """Names a rule together with its unchanged value."""
    constant, _, value = name.partition(" ")
    return f"`{constant}` {value}, not {getattr(label_map, constant)}" if constant in TRIED else name


def main() -> int:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"), help="of sam_tiny (default: that served)")
    add("--out", type=Path, default=RESULTS, help="raw results; of another file the page is not written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    served = Served.read("sam_tiny", arguments.checkpoint, {"points": "seeds"})
    results = tried(with_masks(served, seed_choices.images()))
    arguments.out.write_text(json.dumps({"sam": served.about(), "rules": results}, indent=1) + "\n")
    if arguments.out == RESULTS:
        page.put(seed_choices.PAGE, "label_rules", table(results))
    console.print(table(results), soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
