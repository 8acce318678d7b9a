"""Measures scale-out: one, two and three TorchServes with as many dispatchers on one bucket, as in deploy/.

    python -m benchmarks.scaleout            everything (15 minutes, nothing else on the machine)
    python -m benchmarks.scaleout --quick    every part once, small, to see whether it works: .run/scaleout.json

It runs real TorchServes with one worker each and deploy/'s short queues, real dispatcher processes without access to
management, and the GCS emulator. As with a Kubernetes Service, each connection goes to a server drawn at random. There
are two models:

sleeper     sleeps a second for an image, as if each had its own accelerator; this measures whether more
            instances do more, and what the machinery costs
sam_tiny    segments small images on the machine's own cores, which all instances share; no more than their total comes
            out, however many instances there are

Jobs a second are counted between a tenth and nine tenths of the jobs. Efficiency is relative to one instance times
their number. TorchServe's counters tell how long images waited in its queues and how long they then held a worker.

Writes benchmarks/results/scaleout.json and the table in docs/capacity.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.console import Console
from rich.table import Table

from benchmarks.machinery.throughput import ended_at
from benchmarks.page import put
from benchmarks.serving import machine, make_image
from benchmarks.side_by_side import sleeper
from benchmarks.side_by_side.spreader import Spreader
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from tests.faults.part import Part
from tools import mar, ports, render
from tools.emulator import Emulator
from tools.problem import Problem, main_exit
from tools.stack import weights_file, worker_environment
from tools.torchserve import Ports, TorchServe

INSTANCES = (1, 2, 3)
PLACES = 6
"""Requests that each dispatcher keeps at TorchServe; deploy/ has 24 in all, for two to eight pods."""
WEIGHTS = "grainserve-weights"
OPTIONS = {"points": "grid", "points_per_side": 4, "crop_n_layers": 0}
SIDE = 256
CAME, REFUSED = "ts_inference_requests_total", "Requests5XX"
SPENT, WAITED = "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"
"""TorchServe's counters: requests, answered or not, and times; the time of inference includes the wait."""
console = Console(width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True)
class Load:
    """A model and its jobs.

    Attributes:
        model: name of the model.
        pack: makes the model's archive in a folder.
        image: bytes of every image.
        options: options of every job.
    """

    model: str
    pack: Callable[[Path], Path]
    image: bytes
    options: dict[str, Any]


def pack_sleeper(folder: Path) -> Path:
    """Packs the archive of the model that sleeps."""
    package = folder / "sleeper"
    package.mkdir()
    (package / "__init__.py").write_text('"""No code but the entry."""\n')
    shutil.copyfile(str(sleeper.__file__), package / "service.py")
    config = folder / "sleeper.yaml"
    config.write_text("minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\nresponseTimeout: 60\nstartupTimeout: 120\n")
    return mar.pack("sleeper", "1.0", config=config, package=package, out=folder / "sleeper.mar")


@contextmanager
def servers(load: Load, count: int, emulator: Emulator, folder: Path) -> Iterator[list[TorchServe]]:
    """Starts `count` TorchServes, each with one ready worker of the model."""
    archive = load.pack(folder)
    with ExitStack() as running:
        started = []
        for number in range(count):
            server = TorchServe(
                model_store=folder / f"store-{number}",
                logs=folder / f"torchserve-{number}",
                environment={
                    **worker_environment(emulator.url, folder / "weights"),
                    "GRAINSERVE_WEIGHTS_BUCKET": WEIGHTS,
                },
                ports=Ports.choose_free(),
                settings=render.SETTINGS,
                say=lambda _: None,
            )
            started.append(running.enter_context(server))
            server.register(archive)
            warm(server, load)
        yield started


def warm(server: TorchServe, load: Load) -> None:
    """Lets each server answer an image before anything is timed."""
    url = f"{server.inference}/predictions/{load.model}"
    answer = requests.post(url, files={"image": load.image}, data=load.options, timeout=600)
    if not answer.ok:
        raise Problem(f"{load.model} answers {answer.status_code}: {answer.text:.500}")


def level(load: Load, running: list[TorchServe], jobs: int, emulator: Emulator, folder: Path) -> dict[str, Any]:
    """Lets these servers and as many dispatchers do jobs."""
    bucket = f"scaleout-{load.model.replace('_', '-')}-{len(running)}"
    emulator.create_bucket(bucket)
    store = JobStore(Bucket(bucket, emulator.client()))
    for _ in range(jobs):
        store.submit(load.image, model=load.model, version=None, options=load.options, submitter="lab")
    before = [counters(server) for server in running]
    with Spreader(ports.choose_free(1)[0], [server.ports.inference for server in running]) as service:
        environment = {
            "STORAGE_EMULATOR_HOST": emulator.url,
            "GRAINSERVE_BUCKET": bucket,
            "GRAINSERVE_TORCHSERVE": f"http://127.0.0.1:{service.port}",
            "GRAINSERVE_MANAGEMENT": "none",
        }
        command = ["dispatch", "--concurrency", str(PLACES)]
        parts = [
            Part(f"dispatcher {number}", "grainserve", command, environment, folder / f"{bucket}-{number}")
            for number in range(len(running))
        ]
        try:
            for part in parts:
                part.start()
            psutil.cpu_percent()
            while len(ended_at(parts)) < jobs:
                if not all(part.running for part in parts):
                    raise Problem(f"a dispatcher ended; its log is under {folder}")
                time.sleep(0.5)
            busy = psutil.cpu_percent()
        finally:
            for part in parts:
                part.kill()
    after = [counters(server) for server in running]
    grown = [{name: end[name] - begin[name] for name in end} for begin, end in zip(before, after, strict=True)]
    return {
        "instances": len(running),
        **figures(parts, grown),
        "cpu_percent_of_all_cores": busy,
        "unfinished": store.pending.count(10),
    }


def figures(parts: list[Part], grown: list[dict[str, float]]) -> dict[str, Any]:
    """Returns a level's figures.

    Args:
        parts: dispatchers.
        grown: increase of each TorchServe's counters.
    """
    times = ended_at(parts)
    first, last = len(times) // 10, len(times) * 9 // 10
    answered = [round(each[CAME] - each[REFUSED]) for each in grown]
    seconds = times[-1] - times[0]
    refused, spent, waited = (sum(each[name] for each in grown) for name in (REFUSED, SPENT, WAITED))
    return {
        "jobs": len(times),
        "jobs_per_second": round((last - first) / (times[last] - times[first]), 4),
        "answered_by_torchserve": answered,
        "done_by_dispatcher": [len(ended_at([part])) for part in parts],
        "jobs_per_second_of_each_torchserve": [round(each / seconds, 4) for each in answered],
        "refused_by_full_queues": round(refused),
        "seconds_an_image_holds_a_worker_by_counters": round((spent - waited) / 1e6 / sum(answered), 4),
        "mean_seconds_in_torchserves_queue": round(waited / 1e6 / sum(answered), 4),
    }


def counters(server: TorchServe) -> dict[str, float]:
    """Returns TorchServe's counters, summed over all models."""
    text = requests.get(f"{server.metrics}/metrics", timeout=10).text
    names = (CAME, REFUSED, SPENT, WAITED)
    found = {name: re.findall(rf"^{name}\{{.*\}} (\S+)$", text, re.MULTILINE) for name in names}
    return {name: sum(map(float, values)) for name, values in found.items()}


def measure(load: Load, jobs: int, emulator: Emulator, folder: Path) -> list[dict[str, Any]]:
    """Measures all levels of one model."""
    folder.mkdir()
    levels: list[dict[str, Any]] = []
    with servers(load, max(INSTANCES), emulator, folder) as every:
        for count in INSTANCES:
            found = level(load, every[:count], jobs * count, emulator, folder)
            alone = levels[0]["jobs_per_second"] if levels else found["jobs_per_second"]
            found["efficiency"] = round(found["jobs_per_second"] / count / alone, 3)
            levels.append(found)
            console.print(f"{load.model}: {count} instances, {found['jobs_per_second']:.3f} jobs/s")
    return levels


def show(results: dict[str, Any]) -> None:
    """Prints the figures as a table."""
    table = Table("model", "instances", "jobs/s", "efficiency", "of each TorchServe", "refused", "queue, s", "CPU, %")
    for model, part in results["models"].items():
        for row in part["levels"]:
            each = " ".join(f"{rate:.2f}" for rate in row["jobs_per_second_of_each_torchserve"])
            table.add_row(
                model, str(row["instances"]), f"{row['jobs_per_second']:.3f}", f"{row['efficiency']:.2f}", each,
                str(row["refused_by_full_queues"]), f"{row['mean_seconds_in_torchserves_queue']:.1f}",
                f"{row['cpu_percent_of_all_cores']:.0f}",
            )  # fmt: skip
    console.print(table)


def write_page(results: dict[str, Any], page: Path) -> None:
    """Puts the table into the page, between its marks."""
    lines = [
        f"{results['date']}, {results['machine']['processor']}, {results['machine']['cores']} cores; "
        "[raw](../benchmarks/results/scaleout.json).",
        "",
        "| model | TorchServes, dispatchers | jobs/s | efficiency | of each TorchServe | refused, queue full | CPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, part in results["models"].items():
        for row in part["levels"]:
            each = ", ".join(f"{rate:.2f}" for rate in row["jobs_per_second_of_each_torchserve"])
            lines.append(
                f"| {model} | {row['instances']} | {row['jobs_per_second']:.2f} | {row['efficiency']:.2f} | {each} | "
                f"{row['refused_by_full_queues']} of {row['refused_by_full_queues'] + row['jobs']} | "
                f"{row['cpu_percent_of_all_cores']:.0f} % |"
            )
    put(page, "scaleout", "\n".join(lines))


def main() -> int:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every part once, small")
    parser.add_argument("--models", nargs="+", choices=("sleeper", "sam_tiny"), help="these only; no table in the page")
    parser.add_argument("--out", type=Path, help="JSON (default: benchmarks/results/scaleout.json)")
    arguments = parser.parse_args()
    folder = ".run" if arguments.quick else "benchmarks/results"
    out = arguments.out or mar.ROOT / folder / "scaleout.json"
    tiny = weights_file("sam_tiny")
    image = make_image(SIDE)
    loads = [
        (Load("sleeper", pack_sleeper, image, {}), 12 if arguments.quick else 100),
        (
            Load("sam_tiny", lambda at: mar.pack("sam_tiny", "1.0", out=at / "sam_tiny.mar"), image, OPTIONS),
            6 if arguments.quick else 60,
        ),
    ]
    with tempfile.TemporaryDirectory(prefix="scaleout-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        port = ports.choose_free(1)[0]
        with Emulator(scratch / "gcs", port=port, log=scratch / "gcs.log", say=lambda _: None) as emulator:
            emulator.upload(WEIGHTS, tiny)
            results: dict[str, Any] = {
                "command": f"python -m benchmarks.scaleout {' '.join(sys.argv[1:])}".strip(),
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "machine": {**machine(), "python": platform.python_version()},
                "places_of_a_dispatcher": PLACES,
                "seconds_that_sleeper_sleeps": sleeper.SECONDS,
                "settings": render.SETTINGS,
                "models": {},
            }
            for load, jobs in loads:
                if arguments.models and load.model not in arguments.models:
                    continue
                levels = measure(load, jobs, emulator, scratch / load.model)
                results["models"][load.model] = {"options": load.options, "levels": levels}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    if not arguments.quick and not arguments.models:
        write_page(results, mar.ROOT / "docs" / "capacity.md")
    return 0


if __name__ == "__main__":
    main_exit(main)
