"""Swaps versions under load: is a request lost, and does an old version answer after the switch?

    python -m benchmarks.swap              20 swaps, 16 clients (`make swap-show`: 10 to 15 minutes)
    python -m benchmarks.swap --swaps 2    two of each kind, to see whether it works

A real TorchServe serves sam_tiny. 16 clients send the same small image, each again as soon as it has an answer. As a
dispatcher does, a client repeats a request that was refused for lack of a place (503, backpressure), or that was lost
with a killed worker. A request is lost if it gets no answer at all, or any other error. Meanwhile the code behind
`grainserve models swap` goes back and forth between two checkpoints, sam_tiny's and a copy with slightly jittered
weights, with a canary image each time, and `models apply --watch` looks every second. Besides plain swaps there are:

    killed      loses the new version's worker (kill -9) while it loads; TorchServe starts another, and the swap goes on
    killed old  loses the old version's worker while it is drained; TorchServe starts another, which answers the queue
    broken      must be refused: its checkpoint does not load
    canary      must be refused: its checkpoint has strongly jittered weights and finds other grains

Latency is the time from the first sending of a request to its answer. An answer is of a wrong version if that version
was not the default at any moment in between.

Writes benchmarks/results/swap.json, with every single answer, and docs/images/swap.png. Exit code 1 when a request was
lost, an answer was of a wrong version, or a swap did not end as it should.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import requests
import torch
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.serving import machine, make_image
from grainserve.errors import GrainserveError
from grainserve.rollout.canary import Limits
from grainserve.rollout.declared import Declarations
from grainserve.rollout.reconcile import Reconciliation
from grainserve.rollout.swap import Rollout
from grainserve.rollout.trials import Canaries
from grainserve.rollout.versions import Versions
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management
from tools import mar, ports
from tools.mar import ROOT
from tools.problem import main_exit
from tools.stack import Ports, Stack

MODEL = "sam_tiny"
CLIENTS = 16
SIDE = 128
"""Side of the image, px, which is small since 16 clients share two cores with loading workers."""
QUICK = {"points": "grid", "points_per_side": 4, "crop_n_layers": 0}
JITTER = {"a": 0.0, "b": 1e-4, "other": 0.5}
"""Relative noise on each weight of a checkpoint."""
console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)


@dataclass
class Traffic:
    """The clients' answers.

    Attributes:
        answers: times of each request and answer, s, and the version that answered.
        lost: errors in place of an answer.
        again: number of requests that were sent again, by reason.
    """

    answers: list[tuple[float, float, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    again: dict[str, int] = field(default_factory=dict)


class Noting(Management):
    """A management client that records when each default was set.

    Attributes:
        switched: `time.monotonic` before and after the last call; None: there was none yet.
    """

    switched: tuple[float, float] | None = None

    def set_default(self, model: str, version: str) -> None:
        """Sets the default version."""
        before = time.monotonic()
        super().set_default(model, version)
        self.switched = (before, time.monotonic())


class Show:
    """The servers, the clients and the events."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self.server = stack.torchserve
        self.environment = stack.environment
        self.management = Noting(self.server.management)
        self.torchserve = TorchServe(self.server.inference, None)
        self.image = make_image(SIDE)
        self.canary = folder / "canary.png"
        self.canary.write_bytes(self.image)
        self.traffic = Traffic()
        self.events: list[dict[str, Any]] = []
        self.began = time.monotonic()
        self._number = 1
        self._enough = threading.Event()
        bucket = Bucket(stack.environment["GRAINSERVE_WEIGHTS_BUCKET"])
        versions = Versions(self.management, self.server.model_store, bucket, self._say)
        self.untried = Rollout(versions, Declarations(bucket), 120.0, 120.0)
        canaries = Canaries(self.torchserve, [self.canary], Limits(), self._say)
        self.rollout = replace(self.untried, trials=[canaries])
        for name, jitter in JITTER.items():
            stack.emulator.upload(bucket.name, _jittered(folder, name, jitter))

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def client(self) -> None:
        """Sends requests until told to stop."""
        with requests.Session() as session:
            while not self._enough.is_set():
                asked = self.now
                while True:
                    try:
                        answer = session.post(
                            f"{self.server.inference}/predictions/{MODEL}", data=self.image, timeout=300
                        )
                    except requests.RequestException as error:
                        self.traffic.lost.append(f"{asked:.1f} s: {error!r}")
                        break
                    if answer.ok:
                        self.traffic.answers.append((asked, self.now, str(answer.json()["metadata"]["version"])))
                        break
                    reason = _may_be_sent_again(answer)
                    if reason is None:
                        self.traffic.lost.append(f"{asked:.1f} s: {answer.status_code} {answer.text[:200]}")
                        break
                    self.traffic.again[reason] = self.traffic.again.get(reason, 0) + 1
                    time.sleep(0.2)

    def watch(self) -> None:
        """Does what `grainserve models apply --watch 1` does."""
        while not self._enough.wait(1.0):
            Reconciliation(self.untried).apply(wait=False)

    def swap(self, kind: str, checkpoint: str, rollout: Rollout | None = None) -> None:
        """Runs one swap of a kind; returns its outcome."""
        self._number += 1
        version = f"1.{self._number}"
        event: dict[str, Any] = {"kind": kind, "version": version, "began": round(self.now, 2)}
        self.events.append(event)
        archive = self._pack(version, checkpoint)
        over, self.management.switched = threading.Event(), None
        killer = threading.Thread(target=self._kill, args=(version, kind, event, over))
        killer.start()
        try:
            (rollout or self.rollout).swap(archive)
        except GrainserveError as error:
            event["refused"] = str(error)[:300]
        over.set()
        killer.join()
        if self.management.switched:
            event["switched"] = [round(moment - self.began, 3) for moment in self.management.switched]
        event["ended"] = round(self.now, 2)
        registered = list(self.management.versions(MODEL))
        event["registered"] = registered
        console.print(f"{event['ended']:6.1f} s  {kind} {version}: {event.get('refused', 'switched')}; {registered}")

    def begin(self) -> None:
        """Swaps, before the load and untried, away from the stack's version, whose defaults find other grains."""
        self.swap("begin", "a", self.untried)

    def stop(self) -> None:
        """Tells the clients to stop."""
        self._enough.set()

    def _pack(self, version: str, checkpoint: str) -> Path:
        config = yaml.safe_load((ROOT / "config" / f"{MODEL}.yaml").read_text())
        config["grainserve"]["checkpoint"] = f"gs://${{GRAINSERVE_WEIGHTS_BUCKET}}/{checkpoint}.pth"
        config["grainserve"]["defaults"] |= QUICK
        file = self.folder / f"{version}.yaml"
        file.write_text(yaml.safe_dump(config))
        return mar.pack(MODEL, version, config=file, out=self.folder / f"{MODEL}-{version}.mar")

    def _kill(self, version: str, kind: str, event: dict[str, Any], over: threading.Event) -> None:
        """Kills once, by kill -9, the worker that a kind of swap loses."""
        while kind in ("killed", "killed old") and not over.wait(0.02):
            there = self.management.versions(MODEL)
            if kind == "killed":
                pids = [worker.pid for worker in there[version].workers] if version in there else []
            else:
                switched = version in there and there[version].default
                pids = [w.pid for name, each in there.items() if name != version for w in each.workers if switched]
            workers = {child.pid: child for child in psutil.Process(self.server.pid).children(recursive=True)}
            if pids and pids[0] in workers:
                workers[pids[0]].send_signal(signal.SIGKILL)
                event["killed"] = round(self.now, 2)
                return

    def _say(self, words: str) -> None:
        console.print(f"{self.now:6.1f} s    [dim]{words}[/]")


def wrong_versions(answers: list[tuple[float, float, str]], switches: list[tuple[float, float, str]]) -> int:
    """Returns answers of a version that was not the default at any moment from request to answer.

    Args:
        answers: time of request, time of answer, version.
        switches: two moments between which a version became the default, and the version, in order.
    """
    spans = [
        (begun, following[1] if following else float("inf"), version)
        for (begun, _, version), following in zip(switches, [*switches[1:], None], strict=True)
    ]
    return sum(
        not any(version == served and begin <= answered and asked <= end for begin, end, served in spans)
        for asked, answered, version in answers
    )


def not_as_expected(events: list[dict[str, Any]]) -> list[str]:
    """Returns swaps that did not end as their kind should."""
    wrong = []
    for event in events:
        goes_through = event["kind"] not in ("broken", "canary")
        if goes_through == ("refused" in event) or goes_through != ("switched" in event):
            wrong.append(f"{event['kind']} {event['version']}: {event.get('refused', 'went through')}")
        if event["kind"].startswith("killed") and "killed" not in event:
            wrong.append(f"{event['kind']} {event['version']}: no worker was killed")
        if len(event["registered"]) != 1:
            wrong.append(f"{event['kind']} {event['version']}: {event['registered']} are registered after it")
    return wrong


def summarise(show: Show) -> dict[str, Any]:
    """Returns the figures."""
    times = sorted(answered - asked for asked, answered, _ in show.traffic.answers)
    spans = [(event["began"], event["ended"]) for event in show.events]
    during = [b - a for a, b, _ in show.traffic.answers if any(begin <= a <= end for begin, end in spans)]
    between = [b - a for a, b, _ in show.traffic.answers if not any(begin <= a <= end for begin, end in spans)]
    kinds = dict.fromkeys(event["kind"] for event in show.events)
    return {
        "clients": CLIENTS,
        "swaps": sum("switched" in event for event in show.events),
        "refused": {kind: sum(e["kind"] == kind and "refused" in e for e in show.events) for kind in kinds},
        "answers": len(times),
        "lost": len(show.traffic.lost),
        "wrong_version": wrong_versions(
            show.traffic.answers,
            [(*event["switched"], event["version"]) for event in show.events if "switched" in event],
        ),
        "killed_workers": sum("killed" in event for event in show.events),
        "not_as_expected": not_as_expected(show.events),
        "sent_again": show.traffic.again,
        "latency_seconds": {
            "median": round(statistics.median(times), 3),
            "p99": round(times[int(0.99 * (len(times) - 1))], 3),
            "worst": round(times[-1], 3),
            "median_while_a_swap_is_under_way": round(statistics.median(during), 3),
            "median_between": round(statistics.median(between), 3) if between else None,
        },
        "seconds_of_a_swap": round(
            statistics.median(e["ended"] - e["began"] for e in show.events if e["kind"] == "swap"), 1
        ),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Draws the latency of each answer over time, coloured by version, and the switches."""
    figure = Figure(figsize=(7.1, 3.0), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    versions = sorted({version for _, _, version in results["answers"]}, key=lambda name: float(name.split(".")[1]))
    colours = ("#1f5a92", "#c8691c")
    for index, version in enumerate(versions):
        points = [(asked, answered - asked) for asked, answered, name in results["answers"] if name == version]
        axes.plot(*zip(*points, strict=True), ".", markersize=1.5, color=colours[index % 2])
    for event in results["events"]:
        if "switched" in event:
            axes.axvline(event["switched"][1], color="0.75", linewidth=0.6, zorder=0)
        elif "refused" in event:
            axes.axvspan(event["began"], event["ended"], color="#d62728", alpha=0.12, linewidth=0, zorder=0)
    axes.set(xlabel="time, s", ylabel="latency, s", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    summary = results["summary"]
    axes.set_title(
        f"{summary['swaps']} swaps under {summary['clients']} clients: {summary['answers']} answers, "
        f"{summary['lost']} lost; colour changes with the version, red: refused",
        fontsize=8,
    )
    figure.savefig(path)


def _jittered(folder: Path, name: str, jitter: float) -> Path:
    """Makes a copy of sam_tiny's checkpoint with noise on its weights."""
    state = torch.load(ROOT / "weights" / f"{MODEL}.pth", weights_only=True)
    draw = torch.Generator().manual_seed(1)
    for key, value in state.items():
        if jitter and torch.is_tensor(value) and value.is_floating_point():
            state[key] = value * (1 + jitter * torch.randn(value.shape, generator=draw).to(value.dtype))
    file = folder / f"{name}.pth"
    torch.save(state, file)
    return file


def _may_be_sent_again(answer: requests.Response) -> str | None:
    """Returns why a dispatcher would send the request again; None: it would not."""
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        return None
    if body.get("type") == "ServiceUnavailableException":
        return "backpressure"
    return "its worker was killed" if "worker died" in str(body.get("message", "")).lower() else None


def main() -> int:
    """Runs the swaps, draws the picture and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=20, help="that go through, at least (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "swap.json")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "swap.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = Stack(
            folder / "stack",
            model_store=folder / "model_store",
            ports=Ports.choose_free(),
            emulator_port=ports.choose_free(1)[0],
            say=lambda _: None,
        )
        with stack:
            os.environ.update(stack.environment)
            show = Show(stack, folder)
            with ThreadPoolExecutor(CLIENTS + 1) as pool:
                try:
                    show.begin()
                    clients = [pool.submit(show.client) for _ in range(CLIENTS)] + [pool.submit(show.watch)]
                    for number in range(arguments.swaps):
                        show.swap(("swap", "killed", "swap", "killed old")[number % 4], "ba"[number % 2])
                        if number % 4 == 1:
                            show.swap("broken", "missing")
                            show.swap("canary", "other")
                finally:
                    show.stop()
            for client in clients:
                client.result()
    results = {
        "command": f"python -m benchmarks.swap {' '.join(sys.argv[1:])}".strip(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "summary": summarise(show),
        "lost": show.traffic.lost,
        "events": show.events,
        "answers": [(round(a, 3), round(b, 3), version) for a, b, version in show.traffic.answers],
    }
    arguments.out.write_text(json.dumps(results) + "\n")
    draw(results, arguments.picture)
    console.print_json(json.dumps(results["summary"]))
    summary = results["summary"]
    return int(bool(summary["lost"] or summary["wrong_version"] or summary["not_as_expected"]))


if __name__ == "__main__":
    main_exit(main)
