"""Runs random schedules of everything that can go wrong, and audits each.

    python -m tests.faults.run --schedules 200        (`make test-faults`)
    python -m tests.faults.run --seed 17 --schedules 1   repeats the schedule of a failure

Each schedule has a bucket, a gateway, two dispatchers and clients that dispatch, all of them real processes, with the
real emulator and an inference server that sleeps instead of segmenting. Two submitters submit a dozen images each, some
of which kill their worker or are refused; one deletes some and submits them again. Many coroutines over one AsyncClient
submit, analyze and are cancelled, and Ctrl-C cancels a client that analyzes. Meanwhile processes are killed, held up
and asked to stop; storage's answers are delayed, lost, refused and spoilt; wrong answers come in storage's and in
TorchServe's place; records are copied and damaged, and markers moved. Then the run counts calls while there is no work,
and audits the bucket. Writes benchmarks/results/faults.json.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.world import World
from tools import ports
from tools.emulator import Emulator
from tools.problem import main_exit

console = Console()


def run_schedule(folder: Path, emulator: Emulator, seed: int) -> dict[str, Any]:
    """Runs one schedule; returns what happened and what the audit found."""
    chance = random.Random(seed)
    with World(folder, emulator, f"faults-{seed}", seed) as world:
        plan = [
            (chance.uniform(0.2, 1.2), chance.choice(list(world.happenings()))) for _ in range(chance.randint(3, 6))
        ]
        for pause, name in plan:
            time.sleep(pause)
            world.wreak(name)
        recovery = world.settle()
        restless = world.idle()
        found = world.audit()
    return {
        "seed": seed,
        "plan": [name for _, name in plan],
        "injected": dict(world.injected),
        "recovery_seconds": round(recovery, 2),
        "idle_calls_per_minute": world.idle_calls,
        "jobs": found.jobs,
        "done": found.done,
        "failed": dict(found.failed),
        "faults": found.faults + restless,
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums up all schedules."""
    injected: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for row in rows:
        injected.update({kind: count for kind, count in row["injected"].items() if count})
        failed.update(row["failed"])
    faults = [fault for row in rows for fault in row["faults"]]
    recovery = [row["recovery_seconds"] for row in rows]
    calls = [row["idle_calls_per_minute"] for row in rows]
    return {
        "schedules": len(rows),
        "jobs": sum(row["jobs"] for row in rows),
        "done": sum(row["done"] for row in rows),
        "failed": dict(failed),
        "injected": dict(injected),
        "lost": sum("lost" in fault for fault in faults),
        "doubled": sum("written" in fault or "submissions" in fault for fault in faults),
        "other_faults": sum(not any(word in fault for word in ("lost", "written", "submissions")) for fault in faults),
        "recovery_seconds": {
            "median": statistics.median(recovery),
            "worst": max(recovery),
        },
        "idle_calls_per_minute": {"median": statistics.median(calls), "worst": max(calls)},
    }


def show(summary: dict[str, Any]) -> None:
    """Prints the audit as a table."""
    table = Table("what", "how often", title="Audit")
    for kind, count in sorted(summary["injected"].items()):
        table.add_row(f"injected: {kind}", str(count))
    for name in ("schedules", "jobs", "done"):
        table.add_row(name, str(summary[name]), style="bold")
    for reason, count in sorted(summary["failed"].items()):
        table.add_row(f"failed: {reason}", str(count))
    for name in ("lost", "doubled", "other_faults"):
        table.add_row(name.replace("_", " "), str(summary[name]), style="bold")
    seconds = summary["recovery_seconds"]
    table.add_row(
        "seconds from the end of the storm to the last job", f"{seconds['median']} (worst {seconds['worst']})"
    )
    calls = summary["idle_calls_per_minute"]
    table.add_row("calls to GCS in an idle minute, five dispatchers", f"{calls['median']} (worst {calls['worst']})")
    console.print(table)


def write(out: Path | None, rows: list[dict[str, Any]]) -> None:
    """Writes the results so far."""
    if out:
        command = f"python -m tests.faults.run {' '.join(sys.argv[1:])}"
        about = {"command": command, "date": time.strftime("%Y-%m-%d"), "summary": summarise(rows)}
        out.write_text(json.dumps(about | {"schedules": rows}, indent=1) + "\n")


def main() -> int:
    """Runs the schedules and prints the audit; returns 1 if it found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=200, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others count on (default %(default)s)")
    parser.add_argument("--out", type=Path, help="raw results, JSON")
    arguments = parser.parse_args()
    # A shell that runs this in the background makes it ignore Ctrl-C, and with it every client.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        port = ports.choose_free(1)[0]
        with Emulator(Path(folder) / "gcs", port=port, log=Path(folder) / "gcs.log", say=lambda _: None) as emulator:
            for seed in range(arguments.seed, arguments.seed + arguments.schedules):
                row = run_schedule(Path(folder) / str(seed), emulator, seed)
                rows.append(row)
                verdict = "; ".join(row["faults"]) or "well"
                console.print(
                    f"seed {seed}: {', '.join(row['plan'])}: {row['done']} of {row['jobs']} done, recovered in "
                    f"{row['recovery_seconds']} s: {verdict}",
                    highlight=False,
                )
                write(arguments.out, rows)
    show(summarise(rows))
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    main_exit(main)
