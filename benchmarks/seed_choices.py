"""Tries other settings of seeds, on images that are neither trained on nor the benchmark's.

    python -m benchmarks.seed_choices                      a quarter of an hour on one core
    python -m benchmarks.seed_choices --only "as served" bf16

The images are two of each set in ../shared/data/real that training keeps apart, and synthetic ones of six families.
Every choice changes one thing of the served configuration, which shows its effect. A second table has the processor
time of a prompt by its window, and of the encoder for a frame, on one core.

Writes benchmarks/results/seed_choices.json and the tables in docs/seeds.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks import page
from benchmarks import seeds as seeds_benchmark
from benchmarks.scored.images import Known, real
from grain_handler.sam import seed_prompter, seeds
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.crops import crops_of
from grain_handler.sam.seed_prompter import FRAME, TOKEN, WINDOWS, SeedPrompter
from grain_handler.sam.seeds import Votes
from grain_handler.segment import mask_settings
from grain_handler.wire.options import Options
from tools.mar import ROOT
from tools.problem import main_exit
from training.serving import Served
from training.synthetic import TUNING_SEED, synthesize

PAGE = ROOT / "docs" / "seeds.md"
RESULTS = ROOT / "benchmarks" / "results" / "seed_choices.json"
FAMILIES = ("gravel", "outcrop", "sand", "unequal", "loose", "epoxy")
EACH = 1
REAL = 2
PROMPTS, RUNS = 64, 7

console = Console()


def nobody_missed(votes: Votes, _covered: NDArray[np.bool_]) -> Votes:
    """Replaces `Votes.outside`, so that no grain counts as missed."""
    return votes[np.zeros(len(votes), bool)]


@dataclass(frozen=True)
class Choice:
    """Another configuration.

    Attributes:
        options: options of the request that differ from the served ones.
        precision: precision of the model; None: the config's.
        changed: attributes of the code that are replaced meanwhile.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None
    changed: Callable[[], AbstractContextManager[Any]] = nullcontext


CHOICES = {
    "as served": Choice(),
    "not asked again": Choice(changed=lambda: patch.object(Votes, "outside", nobody_missed)),
    "no enlarged crops": Choice({"crop_n_layers": "0"}),
    "no crops enlarged twice": Choice({"crop_n_layers": "1"}),
    "enlarged crops asked for all": Choice(changed=lambda: patch.object(seed_prompter, "ENLARGED", math.inf)),
    "no windows": Choice(changed=lambda: patch.object(seed_prompter, "WINDOWS", ())),
    "confidence 0.1": Choice(changed=lambda: patch.object(seeds.find, "__defaults__", (0.1,))),
    "confidence 0.3": Choice(changed=lambda: patch.object(seeds.find, "__defaults__", (0.3,))),
    "predicted IoU 0.4": Choice({"pred_iou_thresh": "0.4"}),
    "predicted IoU 0.6": Choice({"pred_iou_thresh": "0.6"}),
    "bf16": Choice(precision="bf16"),
}


def images() -> list[Known]:
    """Returns the real and the synthetic images."""
    made = list(real(REAL))
    for place, family in enumerate(FAMILIES):
        for turn in range(EACH):
            some = synthesize(np.random.default_rng(TUNING_SEED + 500 + 10 * place + turn), family, 768, 1024)
            made.append(Known(f"{family} {turn}", "synthetic", family, some.image, some.labels))
    return made


def measure(known: Known, generator: MaskGenerator, options: Options) -> dict[str, Any]:
    """Measures one image with one configuration."""
    case = seeds_benchmark.measure(known, generator, options, time.process_time)
    about = {"image": known.name, "group": known.group, "kind": known.kind, "prompts": case["prompts"]}
    return about | {"processor_seconds": case["seconds"], "f1": case["f1"], "d50_error": case["d50_error"]}


def tried(served: Served, choice: Choice, some: Sequence[Known], name: str) -> list[dict[str, Any]]:
    """Measures all images with one configuration."""
    generator = served.generator()
    with choice.changed():
        return [measure(known, generator, served.options) for known in track(some, name, console=console)]


def costs(served: Served) -> dict[str, Any]:
    """Returns median processor times, ms, of a prompt by its window and of the encoder for a frame."""
    generator = served.generator()
    (whole,) = crops_of(FRAME, FRAME, 0, 0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (FRAME, FRAME, 3), dtype=np.uint8)
    points = torch.from_numpy(np.random.default_rng(1).uniform(0, FRAME, (PROMPTS, 2)).astype(np.float32))
    settings = mask_settings(served.options, FRAME, FRAME)
    prompter = SeedPrompter(generator.decoder, generator.framing, generator.budget, settings)
    (embedding,) = generator.embed([pixels])
    told: dict[str, Any] = {"encoder_ms": _median(lambda: generator.embed([pixels]))}
    with torch.inference_mode():
        view = prompter.view(whole, embedding.tokens)
        prompts = generator.decoder.points(points)
        for side in (*WINDOWS, FRAME // TOKEN):
            told[f"prompt_ms_{side}"] = _median(partial(view.look, prompts, points, side)) / PROMPTS
    return {key: round(value, 2) for key, value in told.items()}


def _median(work: Callable[[], object]) -> float:
    """Processor time, ms."""

    def once() -> float:
        began = time.process_time()
        work()
        return 1e3 * (time.process_time() - began)

    once()
    return statistics.median(once() for _ in range(RUNS))


def choices_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns the table of choices; in its means each set and family has the same weight."""
    lines = [
        "| | prompts | processor s | real: F1 | D50 off by | synthetic: F1 | D50 off by |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, rows in results.items():
        prompts, seconds = (np.mean([row[key] for row in rows]) for key in ("prompts", "processor_seconds"))
        lines.append(f"| {name} | {prompts:.0f} | {seconds:.1f} | {scores(rows)} |")
    return "\n".join(lines)


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the cells of a table's row: F1 and the error of D50, for real and for synthetic images."""
    means = [_means(rows, group) for group in ("real", "synthetic")]
    told = (("–" if f1 is None else f"{f1:.3f}", "–" if math.isnan(off) else f"{off:.0%}") for f1, off in means)
    return " | ".join(f"{f1} | {off.replace('%', ' %')}" for f1, off in told)


def _means(rows: Sequence[Mapping[str, Any]], group: str) -> tuple[float | None, float]:
    """Returns F1 and the absolute error of D50 of a group."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["group"] == group:
            kinds.setdefault(row["kind"], []).append(row)
    if not kinds:
        return None, math.nan
    off = [[abs(row["d50_error"]) for row in some if row["d50_error"] is not None] for some in kinds.values()]
    return (
        float(np.mean([np.mean([row["f1"] for row in some]) for some in kinds.values()])),
        float(np.mean([np.mean(some) for some in off if some])) if any(off) else math.nan,
    )


def costs_table(told: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the table of costs."""
    sides = [*WINDOWS, FRAME // TOKEN]
    lines = [
        f"| processor ms | encoder, a frame | {' | '.join(f'a prompt in {n} × {n} tokens' for n in sides)} |",
        f"|---|--:|{'--:|' * len(sides)}",
    ]
    for precision, row in told.items():
        each = " | ".join(f"{row[f'prompt_ms_{n}']:.1f}" for n in sides)
        lines.append(f"| {precision} | {row['encoder_ms']:.0f} | {each} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--checkpoint", default=str(ROOT / "weights" / "sam_tiny.pth"), help="of sam_tiny (default: that served)")
    add("--only", nargs="+", choices=CHOICES, metavar="CHOICE", help=f"some of: {', '.join(CHOICES)}; writes no page")
    add("--out", type=Path, default=RESULTS, help="raw results")
    return made


def main() -> int:
    """Measures, shows, writes."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    some = images()
    if not any(known.group == "real" for known in some):
        console.print("Real outlined images are not at hand: synthetic ones only.")
    results, told = {}, {}
    for name in arguments.only or CHOICES:
        results[name] = tried(_served(arguments.checkpoint, CHOICES[name]), CHOICES[name], some, name)
        console.print(choices_table({name: results[name]}).splitlines()[-1])
    for precision in ("fp32", "bf16"):
        told[precision] = costs(_served(arguments.checkpoint, Choice(precision=precision)))
    about = _served(arguments.checkpoint, Choice()).about()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"sam": about, "choices": results, "costs": told}, indent=1) + "\n")
    text = f"{choices_table(results)}\n\n{costs_table(told)}"
    if not arguments.only and arguments.out == RESULTS:
        page.put(PAGE, "seed_choices", text)
    console.print(text, soft_wrap=True)
    return 0


def _served(checkpoint: str, choice: Choice) -> Served:
    served = Served.read("sam_tiny", checkpoint, {"points": "seeds", **choice.options})
    return served if choice.precision is None else replace(served, precision=choice.precision)


if __name__ == "__main__":
    main_exit(main)
