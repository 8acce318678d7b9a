"""Measures the job machinery: jobs a second, the cost of a job, long queues, and the obvious design for comparison.

    python -m benchmarks.jobs                  everything but the last part (nothing else on the machine)
    python -m benchmarks.jobs --sustained 30   also half an hour of steady uploads, memory watched
    python -m benchmarks.jobs --quick          every part, small: under two minutes
    python -m benchmarks.jobs --only scale     one part again; the others stay in the file as they are

Inference is a server that sleeps a second for each image, so what is measured is the machinery: real dispatcher
processes of four places each, the real google-cloud-storage, the emulator. If jobs cost nothing, every dispatcher
could do four jobs a second. Efficiency is jobs a second for each dispatcher, relative to one alone. The largest run has
10,000 jobs.

Writes benchmarks/results/jobs.json (--quick: .run/jobs.json) after every run, so that a run that breaks loses none
before it. Needs Linux and 2 GB of disk for temporary files. Takes about 20 minutes, and the minutes of --sustained.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machinery import report
from benchmarks.machinery.bench import PLACES, SECONDS, Bench
from benchmarks.machinery.beside import beside
from benchmarks.machinery.operations import operations
from benchmarks.machinery.scale import scale
from benchmarks.machinery.throughput import throughput
from benchmarks.machinery.uploads import latencies, sustained
from tools import ports
from tools.emulator import Emulator
from tools.mar import ROOT
from tools.problem import main_exit

Run = Callable[[Bench], Any]
SEVERAL = {"operations", "scale", "throughput"}
"""Parts whose runs differ in size; each has a list of runs."""

# The default would be eighty columns if the output goes into a file.
console = Console(width=None if sys.stdout.isatty() else 120)


def parts(quick: bool, minutes: float) -> dict[str, list[Run]]:
    """Returns the runs of each part, short ones first."""
    few = 20 if quick else 200
    queues = (
        [(1_000, 20, 80), (3_000, 20, 80)] if quick else [(1_000, 50, 500), (10_000, 50, 2_000), (100_000, 50, 2_000)]
    )
    sizes = {1: 20, 2: 40} if quick else {1: 240, 2: 480, 4: 960, 8: 1920, 16: 10_000}
    return {
        "operations": [partial(operations, jobs=few, dispatchers=2, keyed=keyed) for keyed in (False, True)],
        "latencies_ms": [partial(latencies, count=few)],
        "beside": [partial(beside, rounds=3 if quick else 30, killed_with=50)],
        "scale": [partial(scale, pending=many, dispatchers=some, jobs=jobs) for many, some, jobs in queues],
        "throughput": [partial(throughput, dispatchers=count, jobs=jobs) for count, jobs in sizes.items()],
        "sustained": [partial(sustained, minutes=minutes)] if minutes else [],
    }


def measure(bench: Bench, chosen: dict[str, list[Run]], results: dict[str, Any], out: Path) -> None:
    """Runs all parts, and writes the results after each run."""
    began = time.monotonic()
    for name, runs in chosen.items():
        results.pop(name, None)
        for run in runs:
            settings = ", ".join(f"{key} {value}" for key, value in run.keywords.items())  # type: ignore[attr-defined]
            console.print(f"{_clock(time.monotonic() - began)}  {name}: {settings} …", highlight=False)
            found = run(bench)
            if name in SEVERAL:
                results.setdefault(name, []).append(found)
            else:
                results[name] = found
            out.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"{_clock(time.monotonic() - began)}  done\n", highlight=False)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"


def main() -> int:
    """Measures, writes, shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every part, small")
    parser.add_argument("--sustained", type=float, metavar="MINUTES", help="also steady uploads for so long")
    parser.add_argument("--only", nargs="+", choices=list(report.TABLES), help="these parts")
    words = "JSON (default: benchmarks/results/jobs.json; --quick: .run/jobs.json)"
    parser.add_argument("--out", type=Path, help=words)
    arguments = parser.parse_args()
    out = arguments.out or ROOT / (".run" if arguments.quick else "benchmarks/results") / "jobs.json"
    out.parent.mkdir(exist_ok=True)
    minutes = arguments.sustained if arguments.sustained is not None else 0.25 * arguments.quick
    if not minutes and "sustained" in (arguments.only or []):
        parser.error("sustained: for how many minutes? --sustained MINUTES")
    chosen = parts(arguments.quick, minutes)
    results: dict[str, Any] = {}
    if arguments.only:
        chosen = {name: chosen[name] for name in arguments.only}
        results = json.loads(out.read_text()) if out.is_file() else {}
    results["machine"] = report.machine()
    results["date"] = time.strftime("%Y-%m-%d")
    results["quick"] = arguments.quick
    results["inference_seconds"], results["places"] = SECONDS, PLACES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = ports.choose_free(1)[0]
        with Emulator(folder / "gcs", port=port, log=folder / "gcs.log", say=lambda _: None) as emulator:
            bench = Bench(folder, emulator)
            bench.stub.start()
            try:
                measure(bench, chosen, results, out)
            finally:
                bench.stub.kill()
    report.show(console, results)
    return 0


if __name__ == "__main__":
    main_exit(main)
