"""Fuzzes the code that reads strangers' bytes: the handler's requests, the gateway's uploads, the client's answers.

    python -m tests.fuzz.run --inputs 100000 --out benchmarks/results/fuzz.json

Each input follows from the seed and its index: `--seed S --first I --inputs 1` repeats one. Child processes run the
inputs. If a child hangs, crashes or grows, its input is reported, and another child continues after it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import PIL

from tests.fuzz.child import draw
from tests.fuzz.targets import SECONDS, targets

ROOT = Path(__file__).resolve().parents[2]
TARGETS = "tests.fuzz.targets"
BATCH = 10_000
"""Inputs of one child; the next child starts with fresh memory."""
MALLOC = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
"""Environment in which freed large blocks go back to the system: glibc would keep some, which would count as the next
input's."""
ENOUGH = 50
"""Number of faults after which the rest of a batch is skipped, as it would tell nothing new."""


@dataclass
class Report:
    """The results of a run.

    Attributes:
        outcomes: number of inputs by target and outcome.
        slowest: milliseconds of the slowest input and its index, by target.
        peak_kib: most memory that a child held, KiB.
        added_kib: most memory that a child held above its memory before its first input, KiB, by target.
        faults: inputs with an undeclared outcome.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    peak_kib: int = 0
    added_kib: dict[str, int] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Number of all inputs."""
        return sum(counter.total() for counter in self.outcomes.values())

    def count(self, name: str, outcome: str) -> None:
        """Adds one input's outcome."""
        self.outcomes.setdefault(name, Counter())[outcome] += 1

    def add(self, other: Report) -> None:
        """Adds another part of the run."""
        for name, counter in other.outcomes.items():
            self.outcomes.setdefault(name, Counter()).update(counter)
        for name, slow in other.slowest.items():
            self.slowest[name] = max(self.slowest.get(name, (0.0, 0)), slow)
        for name, added in other.added_kib.items():
            self.added_kib[name] = max(self.added_kib.get(name, 0), added)
        self.peak_kib = max(self.peak_kib, other.peak_kib)
        self.faults += other.faults


def fuzz(seed: int, inputs: int, *, first: int = 0, jobs: int = 1, module: str = TARGETS) -> Report:
    """Runs inputs in children.

    Args:
        seed: seed of all random decisions.
        inputs: number of inputs.
        first: index of the first input.
        jobs: number of children at once.
        module: name of a module with `targets`.
    """
    end, report = first + inputs, Report()
    batches = [(start, min(start + BATCH, end)) for start in range(first, end, BATCH)]
    with ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(lambda batch: _batch(module, seed, *batch), batches):
            report.add(part)
    return report


def _batch(module: str, seed: int, first: int, end: int) -> Report:
    report = Report()
    while first < end and len(report.faults) < ENOUGH:
        first = _child(module, seed, first, end, report)
    return report


def _child(module: str, seed: int, first: int, end: int, report: Report) -> int:
    """Runs inputs in one child while it lives and stays within its memory; returns the index to continue at."""
    command = [sys.executable, "-m", "tests.fuzz.child", module, *map(str, (seed, first, end))]
    with (
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, cwd=ROOT, env=MALLOC) as child,
    ):
        assert child.stdout is not None
        started = child.stdout.readline()
        following, base = first, int(started or 0)
        for line in islice(child.stdout, end - first):
            index, name, outcome, took, added, trace = json.loads(line)
            report.count(name, outcome)
            report.slowest[name] = max(report.slowest.get(name, (0.0, 0)), (took, index))
            report.added_kib[name] = max(report.added_kib.get(name, 0), added)
            report.peak_kib = max(report.peak_kib, base + added)
            if trace:
                report.faults.append({"index": index, "target": name, "outcome": outcome, "trace": trace})
            following = int(index) + 1
        code = child.wait()
        if code == 0 and following > first:  # at the end, or after an input that held too much
            return following
        words.seek(0)
        trace = words.read()[-4000:]
    if not started:
        raise RuntimeError(f"the child did not start:\n{trace}")
    made = importlib.import_module(module).targets()
    name, _ = draw(made, seed, following)
    outcome = "!Hang" if "Timeout" in trace else f"!Ended with {code}"
    report.count(name, outcome)
    report.faults.append({"index": following, "target": name, "outcome": outcome, "trace": trace})
    return following + 1


def save(report: Report, seed: int, folder: Path, module: str = TARGETS) -> Iterator[Path]:
    """Writes each input at fault into a file, with the command that repeats it; yields the files."""
    made = importlib.import_module(module).targets()
    for fault in report.faults:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{seed}-{fault['index']}.txt"
        _, case = draw(made, seed, fault["index"])
        again = f"python -m tests.fuzz.run --seed {seed} --first {fault['index']} --inputs 1"
        file.write_text(f"{fault['target']}: {fault['outcome']}\n{again}\n\n{fault['trace']}\n\n{case!r}\n", "utf-8")
        yield file


def main() -> int:
    """Command line entry; returns 1 if an input was at fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="another one each time")
    parser.add_argument("--first", type=int, default=0, help="index of the first input")
    parser.add_argument("--jobs", type=int, default=1, help="children at once")
    parser.add_argument("--out", type=Path, help="JSON of the outcomes")
    parser.add_argument("--failures", type=Path, default=ROOT / ".run" / "fuzz", help="folder for inputs at fault")
    given = parser.parse_args()
    print(f"seed {given.seed}: {given.inputs} inputs", flush=True)
    begin = time.monotonic()
    report = fuzz(given.seed, given.inputs, first=given.first, jobs=given.jobs)
    summary = _summary(report, given.seed, time.monotonic() - begin)
    print(json.dumps(summary, indent=1))
    if given.out:
        given.out.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    for file in save(report, given.seed, given.failures):
        print(f"at fault: {file}")
    return 1 if report.faults else 0


def _summary(report: Report, seed: int, seconds: float) -> dict[str, Any]:
    allowed = targets()
    return {
        "seed": seed,
        "inputs": report.inputs,
        "faults": len(report.faults),
        "seconds": round(seconds),
        "seconds allowed per input": SECONDS,
        "peak memory of a process, MiB": round(report.peak_kib / 1024),
        "versions": {"python": platform.python_version(), "pillow": PIL.__version__},
        "targets": {
            name: {
                "inputs": counter.total(),
                "most memory added, MiB": round(report.added_kib.get(name, 0) / 1024),
                "memory allowed, MiB": allowed[name].memory_mib,
                "slowest ms": report.slowest.get(name, (0.0, 0))[0],
                "outcomes": dict(counter.most_common()),
            }
            for name, counter in sorted(report.outcomes.items())
        },
    }


if __name__ == "__main__":
    sys.exit(main())
