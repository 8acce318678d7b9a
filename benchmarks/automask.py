"""Automatic masks compared: stock segment_anything, ours at each precision, and others, on the same images.

    python -m benchmarks.automask            the whole comparison on this machine's CPU: about 40 minutes on two cores
    python -m benchmarks.automask --quick    two minutes, to see whether it works: grids of 4 × 4 points
    python -m benchmarks.automask --redraw   tables and picture again, from the results of the last run
    python -m benchmarks.automask --device cuda --models sam_vit_h,sam_tiny
                                             all measurements of a GPU, including rivals

sam_tiny has its committed checkpoint. A closed network has no access to public weights, so the others get random
weights in the official layout, set so that their masks lie about their points and a third of them pass the filters.

It measures seconds, split by stage; peak memory above the loaded model, with each system in its own process; the
agreement of masks, paired with stock's one to one; and the change of the grains' median size. sam_tiny is also measured
with 16² to 64² points, with images of 256 to 1024 px, with 10 to 600 grains, on the team's photographs if they are
available, and with adaptive points.

The machine should do nothing else meanwhile. Results are saved after every scenario: --resume continues an interrupted
run. Writes benchmarks/results/automask.json, docs/images/automask.png and a section of docs/performance.md
(with --device cuda: automask_cuda, and a section of its own; with --quick, all of it under .run/automask).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.against_stock import chart, report, scenarios, subjects
from benchmarks.against_stock.measure import Bench, Plan
from benchmarks.against_stock.pictures import synthetic
from benchmarks.against_stock.scenarios import MEDIUM, Scenario
from benchmarks.against_stock.subjects import Subject
from grain_handler.sam.models import REGISTRY
from tools.mar import ROOT
from tools.problem import Problem, main_exit

PACKAGES = ("torch", "torchvision", "segment-anything", "transformers", "numpy")

ONLY = (
    f"scenarios of these groups ({', '.join(scenarios.GROUPS)}) or with these words in their names; the results then "
    "have no others, so give --out too"
)

# The default would be eighty columns if the output goes into a file.
console = Console(width=None if sys.stdout.isatty() else 180)


def machine(device: torch.device) -> dict[str, Any]:
    """Describes the machine."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = os.cpu_count()
    gpu = device.type == "cuda"
    return {
        "device_name": torch.cuda.get_device_name(device) if gpu else f"{cores} CPU cores",
        "processor": names[0] if names else platform.processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def choose(arguments: argparse.Namespace) -> list[Scenario]:
    """Returns the scenarios that the command line asks for.

    Raises:
        Problem: there are none.
    """
    found = scenarios.all_scenarios(arguments.models, arguments.points, arguments.device == "cuda")
    wanted = [
        scenario
        for scenario in (scenarios.quick(found) if arguments.quick else found)
        if not arguments.only
        or any(word in scenario.groups or word.lower() in scenario.name.lower() for word in arguments.only)
    ]
    if not wanted:
        raise Problem(f"no scenario is called {' or '.join(arguments.only)}; they are:\n{_listed(found)}")
    return wanted


def measure(arguments: argparse.Namespace, results: dict[str, Any], save: Path) -> None:
    """Runs the scenarios that the results lack, and saves the results after each."""
    device = torch.device(arguments.device)
    wanted = choose(arguments)
    done = {case["scenario"] for case in results["cases"]}
    prepared: dict[str, Subject] = {}
    with tempfile.TemporaryDirectory(prefix="automask-") as folder:
        bench = Bench(Plan(device, arguments.repeats, arguments.slow, Path(folder), console.print))
        for number, scenario in enumerate(wanted, start=1):
            if scenario.name in done:
                continue
            began = time.perf_counter()
            console.print(f"[bold]{number}/{len(wanted)} {scenario.name}[/bold] {time.strftime('%H:%M:%S')}")
            picture = scenario.picture()
            if picture is None:
                console.print(f"  left out: {scenarios.missing(scenario)}")
                continue
            name = scenario.model
            if name not in prepared:
                prepared[name] = subject = subjects.prepare(name, synthetic(MEDIUM), device, Path(folder))
                results["models"][name] = {
                    "weights": subject.weights,
                    "pred_iou_thresh": subject.pred_iou_thresh,
                    "stability_score_thresh": subject.stability_score_thresh,
                }
            results["cases"] += bench.scenario(scenario, prepared[name], picture)
            save.parent.mkdir(parents=True, exist_ok=True)
            save.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
            console.print(f"  done in {time.perf_counter() - began:.0f} s")


def begin(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns results without cases yet."""
    options = [word for word in sys.argv[1:] if word != "--resume"]
    return {
        "command": " ".join(["python -m benchmarks.automask", *options]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(torch.device(arguments.device)),
        "versions": {name: version(name) for name in PACKAGES},
        "slow_s": arguments.slow,
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", "default"),
        "models": {},
        "cases": [],
    }


def show(results: dict[str, Any], raw: Path, docs: Path) -> None:
    """Prints a table, draws the picture and writes the section of the page."""
    for table in report.terminal(results["cases"]):
        console.print(table)
    picture = docs / "images" / f"{raw.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    hardware = results["machine"]["device_name"]
    chart.draw(results["cases"], picture, f"Stock and ours on {hardware}; the same weights, image and thresholds")
    page = docs / "performance.md"
    text = report.section(results, os.path.relpath(picture, docs), os.path.relpath(raw, docs))
    report.write_page(page, raw.stem, text)
    for path in (raw, picture, page):
        console.print(f"  {os.path.relpath(path)}")


def _listed(found: Sequence[Scenario]) -> str:
    return "\n".join(f"  {scenario.name}  ({', '.join(scenario.groups)})" for scenario in found)


def _models(text: str) -> list[str]:
    models = text.split(",")
    unknown = [name for name in models if name not in REGISTRY]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}: the models are {', '.join(REGISTRY)}")
    return models


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where all systems run (default %(default)s)")
    add("--models", type=_models, default=["sam_vit_b", "sam_tiny"], metavar="NAME,…", help=", ".join(REGISTRY))
    add("--points", type=_numbers, default=[16, 32, 64], metavar="N,…", help="points along a side, for the scaling")
    add("--repeats", type=int, default=3, help="runs of each system, of which the median counts (default %(default)s)")
    add("--slow", type=float, default=30, metavar="S", help="what takes longer is run once (default %(default)s s)")
    add("--threads", type=int, help="torch's threads, for all systems (default: torch's own choice)")
    add("--only", nargs="+", default=[], metavar="WORD", help=ONLY)
    add("--list", action="store_true", help="name the scenarios and stop")
    add("--quick", action="store_true", help="grids of 4 × 4 points, one run each")
    add("--resume", action="store_true", help="keep the scenarios that the results have already")
    add("--redraw", action="store_true", help="measure nothing, show the results again")
    add("--out", type=Path, help="raw results (default benchmarks/results/automask.json)")
    add("--docs", type=Path, help="folder of the page and its images/ (default docs, or beside --out if that is given)")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise Problem("torch finds no GPU here; leave --device out to measure on the CPU")
    if arguments.quick:
        arguments.repeats = 1
    scratch = ROOT / ".run" / "automask"
    stem = "automask" if arguments.device == "cpu" else f"automask_{arguments.device}"
    results = scratch if arguments.quick else ROOT / "benchmarks" / "results"
    given = arguments.out is not None
    arguments.out = (arguments.out or results / f"{stem}.json").resolve()
    default_docs = arguments.out.parent if given or arguments.quick else ROOT / "docs"
    arguments.docs = (arguments.docs or default_docs).resolve()
    return arguments


def main() -> int:
    arguments = parse()
    if arguments.list:
        console.print(_listed(choose(arguments)), markup=False, highlight=False)
        return 0
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep = arguments.redraw or (arguments.resume and arguments.out.is_file())
    if keep and not arguments.out.is_file():
        raise Problem(f"there are no results in {arguments.out}")
    results: dict[str, Any] = json.loads(arguments.out.read_text()) if keep else begin(arguments)
    if not arguments.redraw:
        measure(arguments, results, arguments.out)
    if not results["cases"]:
        raise Problem("nothing was measured")
    show(results, arguments.out, arguments.docs)
    return 0


if __name__ == "__main__":
    main_exit(main)
