"""The figures of all parts as tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """Describes the machine."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def show(console: Console, results: dict[str, Any]) -> None:
    """Prints all parts that were measured."""
    for name, table in TABLES.items():
        if name in results:
            console.print(table(results[name]))


def _operations(runs: list[dict[str, Any]]) -> Table:
    titles = [f"{each['jobs']} jobs, {each['dispatchers']} dispatchers{', keyed' * each['keyed']}" for each in runs]
    return _by_kind("Requests to storage a job, from submit to the end", titles, runs, "per_job")


def _by_kind(title: str, titles: list[str], runs: list[dict[str, Any]], total: str) -> Table:
    table = Table("", *titles, title=title)
    for kind in sorted({kind for each in runs for kind in each["by_kind"]}):
        table.add_row(kind, *(_number(each["by_kind"].get(kind, 0)) for each in runs))
    table.add_row("together", *(_number(each[total]) for each in runs), style="bold", end_section=True)
    for kind in sorted({kind for each in runs for kind in each["refused_by_kind"]}):
        table.add_row(f"not charged: {kind}", *(_number(each["refused_by_kind"].get(kind, 0)) for each in runs))
    table.add_row("names listed", *(_number(each["names_listed_per_job"]) for each in runs))
    if "for_the_poll_that_brings_the_result" in runs[0]:
        polls = "apart: the poll that brings the result"
        table.add_row(polls, *(_number(each["for_the_poll_that_brings_the_result"]) for each in runs))
    return table


def _latencies(found: dict[str, dict[str, float]]) -> Table:
    table = Table("ms", "p50", "p99", title="One request at a time")
    for what, each in found.items():
        table.add_row(what.replace("_", " "), _number(each["p50"]), _number(each["p99"]))
    return table


def _beside(found: dict[str, Any]) -> Table:
    heading = f"{found['users']} users, {found['jobs']} jobs of a second"
    table = Table("", "jobs/s", "CPU a job, s", f"lost by a kill, of {found['killed_with']}", title=heading)
    for what, each in (("Flask, a thread for each upload", found["obvious"]), ("grainserve gateway", found["ours"])):
        table.add_row(
            what, _number(each["jobs_per_second"]), _number(each["cpu_seconds_per_job"]), str(each["lost_by_a_kill"])
        )
    return table


def _scale(runs: list[dict[str, Any]]) -> Table:
    titles = [f"{each['pending']:,} pending, {each['dispatchers']} dispatchers" for each in runs]
    table = _by_kind("A long queue: requests a job, after submit", titles, runs, "requests_per_job")
    for what in ("ended", "seconds", "seconds_to_seed", "seconds_for_a_look_without_the_index"):
        table.add_row(what.replace("_", " "), *(_number(each[what]) for each in runs))
    each_ended = [tuple(each["ended_by_a_dispatcher"].values()) for each in runs]
    table.add_row("ended by a dispatcher", *(f"{few:g}, {median:g}, {most:g}" for few, median, most in each_ended))
    for what in ("records_read_in_vain_per_job", "claims_lost_per_job"):
        table.add_row(what.replace("_", " "), *(_number(each[what]) for each in runs))
    table.add_row("every job ended once", *("yes" if each["ended_exactly_once"] else "NO" for each in runs))
    return table


def _throughput(rows: list[dict[str, Any]]) -> Table:
    heading = "Jobs a second; efficiency is for each dispatcher, against the first row"
    table = Table("dispatchers", "jobs", "jobs/s", "efficiency", "overhead a job, s", "CPU a job, s", title=heading)
    alone = rows[0]["jobs_per_second"] / rows[0]["dispatchers"]
    for row in rows:
        each = row["jobs_per_second"] / row["dispatchers"]
        table.add_row(
            str(row["dispatchers"]), str(row["jobs"]), f"{row['jobs_per_second']:.2f}", f"{each / alone:.2f}",
            f"{row['overhead_per_job_seconds']:.3f}", f"{row['cpu_seconds_per_job']:.4f}",
        )  # fmt: skip
    return table


def _sustained(found: dict[str, Any]) -> Table:
    table = Table("", "", title="Steady uploads", show_header=False)
    for what, value in found.items():
        if what != "samples":
            table.add_row(what.replace("_", " "), _number(value))
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


TABLES: dict[str, Callable[[Any], Table]] = {
    "operations": _operations,
    "latencies_ms": _latencies,
    "beside": _beside,
    "scale": _scale,
    "throughput": _throughput,
    "sustained": _sustained,
}
