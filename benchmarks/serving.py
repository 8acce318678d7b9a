"""Compares our handler with TorchServe's own Segment Anything example, each in a real TorchServe.

    python -m benchmarks.serving            the whole comparison
    python -m benchmarks.serving --quick    under two minutes, to see whether it works: a grid of 4 × 4 points
    python -m benchmarks.serving --redraw   table and picture again, from the numbers of the last run

Both serve sam_tiny's committed checkpoint with one worker, and get the same image with the same options: ours as a
form, the example (rebuilt in benchmarks/side_by_side/example_handler.py) as base64. There are 1 to 16 clients, and each
sends the next request as soon as it has an answer; only one server runs at a time. Ours answers with measured grains in
JSON, the example with a pickle of the masks. "p99" of fewer than 100 requests is the slowest one.

The benchmark also measures the cost of TorchServe itself: it compares one client's median time through TorchServe with
the median of the handler's three steps in a plain process. The plain process runs before and after the server, which
reveals a machine that changes its speed.

The machine should do nothing else meanwhile. Writes benchmarks/results/serving.json, with every single latency, and
docs/images/serving.png.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.side_by_side import bare, load, picture, systems
from tools.mar import ROOT
from tools.problem import Problem, main_exit
from training.synthetic import synthesize

# The random seed of the demo's thin section, which training does not use.
SEED, GRAIN_PX = 2026, 40
PACKAGES = ("torch", "torchvision", "torchserve", "segment-anything", "numpy", "locust")
OVERHEAD_GOAL = 0.05
# With a larger difference between before and after, a share of a few per cent cannot be measured.
STEADY = 0.03

# The default would be eighty columns if the output goes into a file.
console = Console(width=None if sys.stdout.isatty() else 110)


def make_image(side: int) -> bytes:
    """Draws a synthetic thin section, side × side px, as PNG."""
    buffer = io.BytesIO()
    pixels = synthesize(np.random.default_rng(SEED), "matrix", side, side, grain_px=GRAIN_PX).image
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def sam_options(points_per_side: int) -> dict[str, Any]:
    """Returns the options of `SamAutomaticMaskGenerator` for both systems: sam_tiny's thresholds, and this grid."""
    config = yaml.safe_load((ROOT / "config" / f"{systems.MODEL}.yaml").read_text())
    return {**config["grainserve"]["defaults"], "points_per_side": points_per_side}


def machine() -> dict[str, Any]:
    """Describes the machine."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()}


def level(system: systems.System, clients: int, requests: int, folder: Path, what: str) -> load.Level:
    """Runs one level of load with a progress bar."""
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=requests)
        done = load.run(
            system.server.inference,
            system.ask,
            clients=clients,
            requests=requests,
            folder=folder,
            answered=lambda count: progress.update(bar, completed=count),
        )
    figures = done.figures()
    failed = f", {figures['failures']} FAILED" if figures["failures"] else ""
    console.print(
        f"  {what}: {requests} requests, {figures['images_per_second']:.3f} images/s, "
        f"p50 {figures['p50_s']:.2f} s, p99 {figures['p99_s']:.2f} s{failed}"
    )
    return done


def measure_system(
    start: AbstractContextManager[systems.System], arguments: argparse.Namespace, folder: Path, alone: int = 0
) -> dict[str, Any]:
    """Starts one system, measures `alone` requests of one client and then all levels, and stops it."""
    with start as system:
        console.print(f"{system.name}: warming up ...")
        figures: dict[str, Any] = {"found": system.warm_up(), "threads": system.threads()}
        console.print(f"  {figures['found']['masks']} masks, {figures['found']['objects']} objects in its answer")
        if alone:
            figures["alone"] = level(system, 1, alone, folder, "one client, for TorchServe's cost").figures()
        figures["levels"] = [
            level(system, clients, requests_of(arguments, clients), folder, clients_in_words(clients)).figures()
            for clients in arguments.clients
        ]
    return figures


def clients_in_words(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def requests_of(arguments: argparse.Namespace, clients: int) -> int:
    """Returns the number of requests of a level."""
    return int(max(arguments.requests, arguments.rounds * clients))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures everything, one part at a time."""
    options = sam_options(arguments.points_per_side)
    image = make_image(arguments.side)
    file = folder / "image.png"
    file.write_bytes(image)

    def measure_bare(when: str) -> dict[str, Any]:
        console.print(f"The pipeline without TorchServe, {when} ...")
        found = bare.measure(file, options, arguments.alone)
        console.print(f"  median {statistics.median(found['seconds']):.2f} s of {arguments.alone}")
        return found

    before = measure_bare("before")
    ours = measure_system(
        systems.ours(folder / "ours", image, options, console.print), arguments, folder, arguments.alone
    )
    after = measure_bare("after")
    example = measure_system(systems.example(folder / "example", image, options, console.print), arguments, folder)
    return {
        "measured": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "options": {"model": systems.MODEL, "image_side": arguments.side, "image_bytes": len(image), **options},
        "threads": {"bare": before["threads"], "ours": ours["threads"], "example": example["threads"]},
        "found": {"ours": ours["found"], "example": example["found"]},
        "overhead": overhead(before["seconds"], after["seconds"], ours["alone"]["latencies_s"]),
        "levels": [
            {
                "clients": clients,
                "requests": requests_of(arguments, clients),
                "throughput_ratio": round(mine["images_per_second"] / its["images_per_second"], 2),
                "ours": mine,
                "example": its,
            }
            for clients, mine, its in zip(arguments.clients, ours["levels"], example["levels"], strict=True)
        ],
    }


def overhead(before: list[float], after: list[float], served: list[float]) -> dict[str, Any]:
    """Returns TorchServe's cost for one client, as a share of the pipeline's own time; all arguments in seconds."""
    plain = statistics.median([*before, *after])
    through = statistics.median(served)
    return {
        "overhead_share": round((through - plain) / plain, 4),
        "served_median_s": round(through, 4),
        "bare_median_s": round(plain, 4),
        "bare_before_median_s": round(statistics.median(before), 4),
        "bare_after_median_s": round(statistics.median(after), 4),
        "served_s": served,
        "bare_before_s": [round(seconds, 4) for seconds in before],
        "bare_after_s": [round(seconds, 4) for seconds in after],
    }


def show(figures: Mapping[str, Any]) -> None:
    """Prints the table and TorchServe's cost."""
    table = Table(title="grainserve / TorchServe's example")
    for heading in ("clients", "requests", "images/s", "ratio", "p50, s", "p99, s", "failures"):
        table.add_column(heading, justify="right")
    for row in figures["levels"]:
        mine, its = row["ours"], row["example"]
        table.add_row(
            str(row["clients"]),
            str(row["requests"]),
            f"{mine['images_per_second']:.3f} / {its['images_per_second']:.3f}",
            f"{row['throughput_ratio']:.1f}×",
            f"{mine['p50_s']:.1f} / {its['p50_s']:.1f}",
            f"{mine['p99_s']:.1f} / {its['p99_s']:.1f}",
            f"{mine['failures']} / {its['failures']}",
        )
    console.print(table)
    found, cost = figures["found"], figures["overhead"]
    if found["ours"]["masks"] != found["example"]["masks"]:
        console.print(f"[bold]Not the same masks: {found['ours']['masks']} / {found['example']['masks']}[/bold]")
    console.print(
        f"TorchServe costs {100 * cost['overhead_share']:+.1f} % of the pipeline's own time (goal: at most "
        f"{100 * OVERHEAD_GOAL:.0f} %): {cost['served_median_s']:.3f} s through it, {cost['bare_median_s']:.3f} s "
        f"without ({cost['bare_before_median_s']:.3f} s before, {cost['bare_after_median_s']:.3f} s after). "
        f"torch's threads: {figures['threads']}"
    )
    if abs(cost["bare_after_median_s"] / cost["bare_before_median_s"] - 1) > STEADY:
        console.print("[bold]The machine changed its speed meanwhile: do not trust that share; measure again.[/bold]")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def count(text: str) -> int:
        if not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
        return int(text)

    add: Callable[..., Any] = parser.add_argument
    add("--clients", type=count, nargs="+", help="levels of load (default: 1 2 4 8 16)")
    add("--requests", type=count, help="requests of a level, at least (default: 6)")
    add("--rounds", type=count, help="requests of a level for each of its clients, at least (default: 2)")
    add("--alone", type=count, help="requests for TorchServe's cost, and calls without it, twice (default: 15)")
    add("--side", type=count, help="side of the image, px, at most 1024 (default: 512)")
    add("--points-per-side", type=count, help="the grid; the example's time grows with its square (default: 12)")
    add("--quick", action="store_true", help="other defaults: two levels, a small image, 4 × 4 points")
    add("--redraw", action="store_true", help="measure nothing: table and picture from the JSON that is there")
    add("--out", type=Path, help="JSON (default: benchmarks/results/serving.json; --quick: .run/serving.json)")
    add("--picture", type=Path, help="PNG (default: docs/images/serving.png; --quick: .run/serving.png)")
    arguments = parser.parse_args()
    results, images = ROOT / "benchmarks" / "results", ROOT / "docs" / "images"
    usual = {"clients": [1, 2, 4, 8, 16], "requests": 6, "rounds": 2, "alone": 15, "side": 512, "points_per_side": 12}
    files = {"out": results / "serving.json", "picture": images / "serving.png"}
    if arguments.quick:
        usual = {"clients": [1, 2], "requests": 2, "rounds": 1, "alone": 2, "side": 256, "points_per_side": 4}
        files = {"out": ROOT / ".run" / "serving.json", "picture": ROOT / ".run" / "serving.png"}
    for name, value in {**usual, **files}.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.side > 1024:
        parser.error("--side: our handler takes images up to 1024 px")
    return arguments


def main() -> int:
    """Command line entry."""
    arguments = read_arguments()
    if arguments.redraw:
        if not arguments.out.is_file():
            raise Problem(f"{arguments.out} is not there: measure first, without --redraw.")
        figures = json.loads(arguments.out.read_text())
    else:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="serving-", ignore_cleanup_errors=True) as folder:
            figures = measure(arguments, Path(folder))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
        console.print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes.")
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(figures, arguments.picture)
    show(figures)
    console.print(f"Written: {arguments.out}, {arguments.picture}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main_exit(main)
