"""Jobs a second over dispatchers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import psutil

from benchmarks.machinery.bench import PLACES, SECONDS, Bench, submit, wait_for
from tests.faults.part import Part

LINE = re.compile(r"^(\S+ \S+),(\d+) INFO image \S+(?: \(trace \S+\))? done$")


def throughput(bench: Bench, dispatchers: int, jobs: int) -> dict[str, Any]:
    """Measures jobs a second between a tenth and nine tenths of the jobs, while all dispatchers have enough to do."""
    store = bench.store()
    submit(store, jobs)
    with bench.dispatchers(dispatchers, store) as parts:
        wait_for(lambda: len(ended_at(parts)), jobs, pause=1)
        times = ended_at(parts)
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


def ended_at(parts: list[Part]) -> list[float]:
    """Returns when each job was done, by the dispatchers' logs, s."""
    found = [match for part in parts for line in part.printed() if (match := LINE.match(line))]
    return sorted(datetime.fromisoformat(match[1]).timestamp() + int(match[2]) / 1000 for match in found)
