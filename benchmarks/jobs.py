"""The job machinery: jobs a second over dispatchers, what a job costs, and the obvious design beside it.

    python -m benchmarks.jobs                  everything (about 20 minutes, nothing else on the machine)
    python -m benchmarks.jobs --quick          every part once, small
    python -m benchmarks.jobs --sustained 30   also half an hour of steady uploads, memory watched

Inference is a server that sleeps a second for each image, so what is measured is the machinery: real dispatcher
processes of four places each, the real google-cloud-storage, the emulator. Every dispatcher could do four jobs a second
if jobs cost nothing. Efficiency is jobs a second for each dispatcher, against one alone. The largest run has 10,000.

Writes benchmarks/results/jobs.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import requests
from PIL import Image
from rich.console import Console
from rich.table import Table

from grainserve.protocol import JobStore
from grainserve.storage import Bucket
from tests.faults.proxy import Proxy
from tests.faults.world import Part
from tools import ports
from tools.emulator import Emulator
from tools.mar import ROOT
from tools.problem import main_exit

SECONDS, PLACES = 1.0, 4
"""What inference takes, and the places of a dispatcher."""
LINE = re.compile(r"^(\S+ \S+),(\d+) INFO image \S+ done$")
console = Console()


class Bench:
    """The servers of all parts, and buckets for each."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator
        self._number = 0
        port = ports.choose_free(1)[0]
        self.inference = f"http://127.0.0.1:{port}"
        settings = ["--port", str(port), "--seconds", str(SECONDS), "--workers", "256", "--queue", "256"]
        self.stub = Part("stub", "tests.faults.stub", settings, {}, folder / "stub")

    def store(self) -> JobStore:
        """A fresh bucket."""
        self._number += 1
        name = f"jobs-{self._number}"
        self.emulator.create_bucket(name)
        return JobStore(Bucket(name, self.emulator.client()))

    def environment(self, store: JobStore, url: str | None = None) -> dict[str, str]:
        """For processes that work on a store."""
        return {
            "STORAGE_EMULATOR_HOST": url or self.emulator.url,
            "GRAINSERVE_BUCKET": store.bucket.name,
            "GRAINSERVE_TORCHSERVE": self.inference,
            "GRAINSERVE_MANAGEMENT": self.inference,
        }

    @contextmanager
    def dispatchers(self, count: int, store: JobStore, url: str | None = None) -> Iterator[list[Part]]:
        """So many dispatcher processes."""
        arguments = ["dispatch", "--concurrency", str(PLACES)]
        parts = [
            Part(
                f"dispatcher {i}",
                "grainserve",
                arguments,
                self.environment(store, url),
                self.folder / f"{store.bucket.name}-{i}",
            )
            for i in range(count)
        ]
        for part in parts:
            part.start()
        try:
            yield parts
        finally:
            for part in parts:
                part.kill()


def submit(store: JobStore, count: int) -> list[str]:
    """Submits jobs of tiny images, eight at a time."""

    def one(number: int) -> str:
        return store.submit(b"image %d" % number, model="sam_tiny", version=None, options={}, submitter="lab")

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def ended_at(parts: list[Part]) -> list[float]:
    """When each job was done, by the dispatchers' logs, s."""
    found = [match for part in parts for line in part.printed() if (match := LINE.match(line))]
    return sorted(datetime.fromisoformat(match[1]).timestamp() + int(match[2]) / 1000 for match in found)


def throughput(bench: Bench, dispatchers: int, jobs: int) -> dict[str, Any]:
    """Jobs a second while all dispatchers have enough to do: between a tenth and nine tenths of the jobs."""
    store = bench.store()
    submit(store, jobs)
    with bench.dispatchers(dispatchers, store) as parts:
        while len(times := ended_at(parts)) < jobs:
            time.sleep(1)
        cpu = sum(sum(psutil.Process(part.pid).cpu_times()[:2]) for part in parts)
    first, last = jobs // 10, jobs * 9 // 10
    rate = (last - first) / (times[last] - times[first])
    return {
        "dispatchers": dispatchers,
        "jobs": jobs,
        "jobs_per_second": round(rate, 3),
        "seconds": round(times[-1] - times[0], 2),
        "overhead_per_job_seconds": round(dispatchers * PLACES / rate - SECONDS, 4),
        "cpu_seconds_per_job": round(cpu / jobs, 4),
        "unfinished": store.pending.count(10),
    }


def operations(bench: Bench, jobs: int) -> dict[str, Any]:
    """Calls to storage for each job, from submit to the end, counted by a proxy between."""
    store = bench.store()
    with Proxy(bench.emulator.url) as proxy:
        before = os.environ.get("STORAGE_EMULATOR_HOST")
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        seen = JobStore(Bucket(store.bucket.name))
        ids = submit(seen, jobs)
        with bench.dispatchers(2, store, proxy.url) as parts:
            while len(ended_at(parts)) < jobs:
                time.sleep(0.5)
        working = dict(proxy.calls)
        for image_id in ids:
            seen.poll(image_id)
        polls = sum(proxy.calls.values()) - sum(working.values())
        if before is None:
            del os.environ["STORAGE_EMULATOR_HOST"]
        else:
            os.environ["STORAGE_EMULATOR_HOST"] = before
    return {
        "jobs": jobs,
        "per_job": round(sum(working.values()) / jobs, 3),
        "by_kind": {kind: round(count / jobs, 3) for kind, count in sorted(working.items())},
        "for_the_poll_that_brings_the_result": round(polls / jobs, 3),
    }


def latencies(bench: Bench, count: int) -> dict[str, Any]:
    """Upload through a gateway, submit and poll, ms."""
    store = bench.store()
    port = ports.choose_free(1)[0]
    gateway = Part(
        "gateway",
        "grainserve",
        ["gateway", "--port", str(port), "--dispatch", "0"],
        bench.environment(store),
        bench.folder / "gateway",
    )
    gateway.start()
    url = f"http://127.0.0.1:{port}"
    while not _answers(url):
        time.sleep(0.1)
    try:
        with requests.Session() as session:
            small = _png()
            uploads = _timed(count, lambda: session.post(f"{url}/upload", data=small, timeout=30).raise_for_status())
            ids = submit(store, count)
            polls = _timed(count, lambda: session.get(f"{url}/image-analysis?imageId={ids[0]}", timeout=30))
            direct = _timed(count, lambda: submit_one(store, small))
    finally:
        gateway.kill()
    return {"upload": _summary(uploads), "submit_without_gateway": _summary(direct), "poll_of_another": _summary(polls)}


def submit_one(store: JobStore, image: bytes) -> None:
    """The same three writes without a gateway."""
    store.submit(image, model="sam_tiny", version=None, options={}, submitter="lab")


def obvious(bench: Bench, jobs: int) -> dict[str, Any]:
    """The Flask server: its jobs a second, and what a kill costs both designs."""
    port = ports.choose_free(1)[0]
    server = Part("flask", "benchmarks.side_by_side.obvious", [str(port), bench.inference], {}, bench.folder / "flask")
    url = f"http://127.0.0.1:{port}"
    server.start()
    while not _answers(url):
        time.sleep(0.1)
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool, requests.Session() as session:
        ids = [
            answer.json()["imageId"]
            for answer in pool.map(lambda _: session.post(f"{url}/upload", data=b"x"), range(jobs))
        ]
        while any(session.get(f"{url}/image-analysis?imageId={each}").status_code == 202 for each in ids):
            time.sleep(0.2)
        rate = jobs / (time.monotonic() - began)
        ids = [
            answer.json()["imageId"]
            for answer in pool.map(lambda _: session.post(f"{url}/upload", data=b"x"), range(50))
        ]
        server.signal(signal.SIGKILL)
        server.kill()
        server.start()
        while not _answers(url):
            time.sleep(0.1)
        lost = sum(session.get(f"{url}/image-analysis?imageId={each}").status_code == 404 for each in ids)
    server.kill()

    store = bench.store()
    ours = submit(store, 50)
    with bench.dispatchers(2, store) as parts:
        while not ended_at(parts):
            time.sleep(0.1)
        for part in parts:
            part.kill()
    with bench.dispatchers(2, store):
        while store.pending.count(1):
            time.sleep(0.5)
    kept = sum(store.poll(image_id) is not None for image_id in ours)
    return {
        "jobs_per_second": round(rate, 2),
        "killed_with": 50,
        "lost_by_the_obvious_design": lost,
        "lost_by_ours": 50 - kept,
    }


def sustained(bench: Bench, minutes: float) -> dict[str, Any]:
    """Steady uploads through a gateway that dispatches: its memory over time, MiB."""
    store = bench.store()
    port = ports.choose_free(1)[0]
    arguments = ["gateway", "--port", str(port), "--dispatch", "8"]
    gateway = Part("gateway", "grainserve", arguments, bench.environment(store), bench.folder / "sustained")
    gateway.start()
    url, image = f"http://127.0.0.1:{port}", _png()
    while not _answers(url):
        time.sleep(0.1)
    began, samples, uploaded = time.monotonic(), [], 0
    with requests.Session() as session:
        while (now := time.monotonic() - began) < 60 * minutes:
            image_id = session.post(f"{url}/upload", data=image, timeout=30).json()["imageId"]
            session.get(f"{url}/image-analysis?imageId={image_id}", timeout=30)
            uploaded += 1
            if not samples or now - samples[-1][0] >= 10:
                samples.append((round(now, 1), round(psutil.Process(gateway.pid).memory_info().rss / 2**20, 2)))
            time.sleep(max(0.0, uploaded / 6 - (time.monotonic() - began)))  # six a second; eight places could do eight
    left = store.pending.count(1000)
    gateway.kill()
    later = [each for each in samples if each[0] >= 60] or samples
    slope = statistics.linear_regression(*zip(*later, strict=True)).slope if len(later) > 1 else 0.0
    return {
        "minutes": minutes,
        "uploads": uploaded,
        "unfinished_at_the_end": left,
        "mib_after_the_first_minute": later[0][1],
        "mib_at_the_end": later[-1][1],
        "mib_per_hour": round(3600 * slope, 3),
        "samples": samples,
    }


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 150)).save(file, "PNG")
    return file.getvalue()


def _timed(count: int, ask: Any) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - began))
    return times


def _summary(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {"p50": round(statistics.median(ordered), 2), "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2)}


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).status_code in (200, 404)
    except requests.RequestException:
        return False


def show(results: dict[str, Any]) -> None:
    """The figures as tables."""
    table = Table("dispatchers", "jobs", "jobs/s", "efficiency", "overhead a job, s", "CPU a job, s")
    alone = results["throughput"][0]["jobs_per_second"] / results["throughput"][0]["dispatchers"]
    for row in results["throughput"]:
        each = row["jobs_per_second"] / row["dispatchers"]
        table.add_row(
            str(row["dispatchers"]), str(row["jobs"]), f"{row['jobs_per_second']:.2f}", f"{each / alone:.2f}",
            f"{row['overhead_per_job_seconds']:.3f}", f"{row['cpu_seconds_per_job']:.4f}",
        )  # fmt: skip
    console.print(table)
    for part in ("operations", "latencies_ms", "obvious"):
        console.print(part, results[part])
    if "sustained" in results:
        console.print("sustained", {name: value for name, value in results["sustained"].items() if name != "samples"})


def main() -> int:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every part once, small")
    parser.add_argument("--sustained", type=float, default=0, metavar="MINUTES", help="also steady uploads for so long")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "jobs.json", help="raw results")
    arguments = parser.parse_args()
    sizes = {1: 20, 2: 40} if arguments.quick else {1: 240, 2: 480, 4: 960, 8: 1920, 16: 10_000}
    few = 20 if arguments.quick else 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = ports.choose_free(1)[0]
        with Emulator(folder / "gcs", port=port, log=folder / "gcs.log", say=lambda _: None) as emulator:
            bench = Bench(folder, emulator)
            bench.stub.start()
            try:
                results: dict[str, Any] = {
                    "command": f"python -m benchmarks.jobs {' '.join(sys.argv[1:])}".strip(),
                    "date": time.strftime("%Y-%m-%d"),
                    "inference_seconds": SECONDS,
                    "places": PLACES,
                    "operations": operations(bench, few),
                    "latencies_ms": latencies(bench, few),
                    "obvious": obvious(bench, few),
                    "throughput": [throughput(bench, count, jobs) for count, jobs in sizes.items()],
                }
                if arguments.sustained:
                    results["sustained"] = sustained(bench, arguments.sustained)
            finally:
                bench.stub.kill()
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    return 0


if __name__ == "__main__":
    main_exit(main)
