"""Checks every CUDA path of the handler on a GPU, then times ViT-H there, stock and ours; at most eight minutes.

    python -m benchmarks.gpu                                     on a GPU
    python -m benchmarks.gpu --device cpu --model small --points 4 --grains 12 --repeats 1
                                                                 a trial of the script itself, on any machine

Needs PyTorch ≥ 2.11, torchvision and segment_anything, and nothing else: the handler is used from the checkout. Weights
are random (benchmarks/against_stock/random_sam.py), with thresholds that a third of the masks of all points pass. It
checks two small models, one of ViT-H's kind and sam_tiny with its own weights; docs/performance.md names the checks.
Exit code 1 if one fails. Prints tables and writes benchmarks/results/gpu.json (without a GPU .run/gpu.json).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if importlib.util.find_spec("grain_handler") is None:  # a machine where grainserve is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "handler"))

import torch

from benchmarks.against_stock.stages import STAGES, StageClock
from benchmarks.against_stock.systems import Ours, Skipped, Stock, System
from benchmarks.on_gpu import checks
from benchmarks.on_gpu.models import GRAINS, MODELS, TRAINED, Subject, prepare
from benchmarks.on_gpu.pairs import pair
from grain_handler.masks import Mask
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.precision import PRECISIONS
from tools.mar import ROOT
from tools.problem import Problem, main_exit

POINTS: dict[str, Callable[[MaskSettings], MaskSettings]] = {
    "grid": lambda settings: settings,
    "adaptive": lambda settings: replace(settings, points="adaptive"),
    "seeds": lambda settings: replace(settings, points="seeds"),
}
"""The ways of choosing points that are timed; each makes its settings from the grid's."""

CHECK_POINTS = 8
MIB = 2**20


def measure(name: str, system: System, settings: MaskSettings, subject: Subject, plan: Plan) -> dict[str, Any]:
    """Times one system; on a GPU a first run, which is not counted, chooses kernels.

    Returns:
        The row of the table, with the masks under `masks`.
    """
    device, image = plan.device, subject.image
    if device.type == "cuda":
        system.segment(image, settings)
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        loaded = torch.cuda.memory_allocated(device)
    seconds: list[float] = []
    answer: Any = None
    while len(seconds) < plan.repeats and (not seconds or plan.left() > seconds[-1]):
        began = now(device)
        answer = system.segment(image, settings)
        seconds.append(now(device) - began)
    peak = (torch.cuda.max_memory_allocated(device) - loaded) / MIB if device.type == "cuda" else None
    clock = StageClock(device)
    system.watch(clock, image, settings)
    return {
        "system": name,
        "seconds": [round(one, 4) for one in seconds],
        "median_s": round(statistics.median(seconds), 4),
        "stages_s": {stage: round(spent, 4) for stage, spent in clock.seconds.items()},
        "peak_mib": None if peak is None else round(peak, 1),
        "masks": system.masks(answer),
    }


def time_systems(subject: Subject, plan: Plan) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Times stock, also under automatic mixed precision, then ours at each precision with each choice of points.

    Returns:
        The table's rows, and the systems that were left out with the reason.
    """
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    theirs: list[Mask] = []
    for name, build, settings in systems(subject):
        if rows and plan.left() <= 0:
            left_out[name] = f"{plan.minutes:g} minutes were over"
            continue
        try:
            system = build()
        except Skipped as reason:
            left_out[name] = str(reason)
            continue
        row = measure(name, system, settings, subject, plan)
        found = row.pop("masks")
        theirs = theirs if rows else found
        pairs = pair(theirs, found)
        row |= {"masks": len(found), "matched": pairs.matched, "mean_iou": round(pairs.mean_iou, 5)}
        row["times_as_fast"] = round(rows[0]["median_s"] / row["median_s"], 2) if rows else 1.0
        rows.append(row)
        plan.say(f"  {name}: {row['median_s']:.3f} s")
    for name, why in left_out.items():
        plan.say(f"  {name} is left out: {why}")
    return rows, left_out


def systems(subject: Subject) -> list[tuple[str, Callable[[], System], MaskSettings]]:
    """Lists the systems to time, stock first: name, how to build it, and its settings."""
    sam, settings, head = subject.sam, subject.settings, subject.seed_head
    found: list[tuple[str, Callable[[], System], MaskSettings]] = [
        ("stock", lambda: Stock(sam), settings),
        ("stock, bf16 autocast", lambda: Stock(sam, autocast=True), settings),
    ]
    for precision in PRECISIONS:
        for points, choose in POINTS.items():
            found.append((f"ours {precision}, {points}", lambda at=precision: Ours(sam, at, head), choose(settings)))  # type: ignore[misc]
    return found


class Plan:
    """The plan of a measurement.

    Args:
        device: device to run on.
        repeats: runs of each system; the median counts.
        minutes: time from now; runs that would begin later are left out.
        say: prints a line.
    """

    def __init__(self, device: torch.device, repeats: int, minutes: float, say: Callable[[str], None]) -> None:
        self.device, self.repeats, self.minutes, self.say = device, repeats, minutes, say
        self._began = time.perf_counter()

    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began

    def left(self) -> float:
        """Seconds until the end."""
        return 60 * self.minutes - self.spent()


def now(device: torch.device) -> float:
    """Waits until the device has done its work, and returns the time, s."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as text with aligned columns."""
    stages = [stage for stage in STAGES if any(stage in row["stages_s"] for row in rows)]
    lines = [["", "s", "× stock", "masks", "paired", "mean IoU", "peak MiB", *stages]]
    for row in rows:
        figures = [f"{row['median_s']:.3f}", f"{row['times_as_fast']:.1f}", str(row["masks"]), str(row["matched"])]
        peak = "–" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        split = [f"{row['stages_s'].get(stage, 0):.3f}" for stage in stages]
        lines.append([row["system"], *figures, f"{row['mean_iou']:.4f}", peak, *split])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def about(device: torch.device) -> dict[str, Any]:
    """Describes the machine."""
    gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if gpu else "CPU",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "threads": torch.get_num_threads(),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda", help="where (default %(default)s)")
    add("--model", choices=MODELS, default="sam_vit_h", help="what is timed (default %(default)s)")
    add("--points", type=int, default=32, metavar="N", help="along each side of the grid (default %(default)s)")
    add("--grains", type=int, default=GRAINS, metavar="N", help="in the image (default %(default)s)")
    add("--repeats", type=int, default=5, metavar="N", help="of which the median counts (default %(default)s)")
    add("--minutes", type=float, default=8, metavar="M", help="what would begin later is left out (default 8)")
    add("--without", nargs="+", choices=checks.CHECKS, default=[], metavar="CHECK", help=", ".join(checks.CHECKS))
    add("--out", type=Path, help="results (default benchmarks/results/gpu.json; without a GPU .run/gpu.json)")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        trial = "--device cpu --model small --points 4 --grains 12 --repeats 1"
        raise Problem(f"torch finds no GPU here. To try the script: {trial}")
    folder = ROOT / "benchmarks" / "results" if arguments.device == "cuda" else ROOT / ".run"
    arguments.out = arguments.out or folder / "gpu.json"
    return arguments


def main() -> int:
    arguments = parse()
    device = torch.device(arguments.device)
    plan = Plan(device, arguments.repeats, arguments.minutes, lambda line: print(line, flush=True))
    machine = about(device)
    plan.say(f"{machine['device']}, torch {machine['torch']}")
    few = min(CHECK_POINTS, arguments.points)
    bench = checks.Bench(device, {name: prepare(name, device, few, arguments.grains) for name in ("small", TRAINED)})
    checked = checks.run(bench, arguments.without, plan.say)
    prepared = bench.subjects if few == arguments.points else {}
    subject = prepared.get(arguments.model) or prepare(arguments.model, device, arguments.points, arguments.grains)
    plan.say(f"\n{arguments.model}, {arguments.points}² points; {subject.passing:.0%} of the masks pass the thresholds")
    rows, left_out = time_systems(subject, plan)
    results = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine,
        "checks": checked,
        "model": arguments.model,
        "points_per_side": arguments.points,
        "grains": arguments.grains,
        "image_px": list(subject.image.shape[:2]),
        "pred_iou_thresh": subject.settings.pred_iou_thresh,
        "stability_score_thresh": subject.settings.stability_score_thresh,
        "passing": round(subject.passing, 4),
        "systems": rows,
        "left_out": left_out,
        "seconds": round(plan.spent(), 1),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    plan.say(f"\n{table(rows)}\n\n{arguments.out}, {plan.spent():.0f} s")
    failed = [one["check"] for one in checked if one["outcome"] == "failed"]
    if failed:
        plan.say(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    main_exit(main)
