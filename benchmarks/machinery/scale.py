"""Measures fifty dispatchers with a hundred thousand pending jobs: do they find work without colliding?

Seconds say little here, since fifty dispatchers and the storage share the processors of one machine. The benchmark
counts what holds for GCS as well: requests for each job, listings among them, names listed, records read in vain
because another dispatcher had the job or had ended it, claims lost to another dispatcher (by a compare-and-swap that
came second), and whether each job that ended did so once.

The objects are written directly into the emulator's folder, in the emulator's own format (it makes one job, which is
then copied under other ids). Names and records are those of real jobs. All images are one file with many names, and so
are all markers, which are empty. An index beside the emulator answers listings (`meter.IndexedMeter` says why); it is
compared with the emulator's folder afterwards. Dispatchers are real `Dispatcher` objects with a client each, several to
a process, since fifty processes would take a minute to start.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import statistics
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c

from benchmarks.machinery.bench import LAB, PLACES, Bench, submit, wait_for, wait_until
from benchmarks.machinery.meter import IndexedMeter
from grainserve.jobs.job import State
from grainserve.jobs.markers import PREFIX, Ticket
from grainserve.jobs.store import JobStore
from tests.faults.part import Part
from tools.problem import Problem

PROCESSES = 5
LINKS = 50_000
"""Most names of one file; ext4 allows 65,000."""
ATTRIBUTE = "user.metadata"
"""Extended attribute in which the emulator keeps an object's metadata."""


def scale(bench: Bench, pending: int, dispatchers: int, jobs: int) -> dict[str, Any]:
    """Lets dispatchers end `jobs` of the pending jobs, and counts.

    Args:
        bench: servers.
        pending: number of jobs in the bucket at the beginning.
        dispatchers: number of dispatchers with four places each.
        jobs: number of ended jobs at which dispatchers are asked to stop; they end the jobs in hand, which count too.
    """
    began = time.monotonic()
    store, ids = seed(bench, pending)
    seeded = time.monotonic() - began
    began = time.monotonic()
    if len(list(store.pending.some(64))) != min(64, pending):
        raise Problem("the emulator does not list what was laid into its folder")
    look = time.monotonic() - began
    with IndexedMeter(bench.emulator.url, [Ticket(LAB, image_id).marker for image_id in ids]) as meter:
        began = time.monotonic()
        parts = _start(bench, store, dispatchers, meter.url)
        try:
            wait_for(lambda: len(meter.written), jobs, pause=0.1)
            seconds = time.monotonic() - began
            # Later listings bring no job that is counted here.
            listings, listed = meter.kinds()[0]["list"], meter.listed
            for part in parts:
                part.signal(signal.SIGTERM)
            said = [_said(part) for part in parts]
        finally:
            for part in parts:
                part.kill()
        charged, refused = meter.kinds()
        written, left = meter.written.copy(), list(meter.names)
    charged["list"] = listings
    each = sorted(done for one in said for done in one)
    ended = len(written)
    in_vain = charged["read jobs"] - charged["read images"]
    return {
        "pending": pending,
        "dispatchers": dispatchers,
        "places_each": PLACES,
        "ended": ended,
        "ended_by_a_dispatcher": {"fewest": each[0], "median": statistics.median(each), "most": each[-1]},
        "ended_exactly_once": _once(bench, store, ids, written, left),
        "requests_per_job": round(charged.total() / ended, 3),
        "listings_per_job": round(charged["list"] / ended, 4),
        "names_listed_per_job": round(listed / ended, 3),
        "records_read_in_vain_per_job": round(in_vain / ended, 4),
        "claims_lost_per_job": round(refused["replace jobs 412"] / ended, 4),
        "by_kind": {kind: round(count / ended, 3) for kind, count in sorted(charged.items())},
        "refused_by_kind": {kind: round(count / ended, 3) for kind, count in sorted(refused.items())},
        "seconds": round(seconds, 1),
        "seconds_to_seed": round(seeded, 1),
        "seconds_for_a_look_without_the_index": round(look, 2),
    }


def seed(bench: Bench, count: int) -> tuple[JobStore, list[str]]:
    """Makes a bucket of `pending` jobs; returns it with their image ids.

    Raises:
        Problem: the emulator keeps objects' metadata elsewhere than on Linux.
    """
    if not hasattr(os, "getxattr"):
        raise Problem("the part `scale` lays objects into the emulator's folder, which it can on Linux only")
    store = bench.store()
    first = submit(store, 1)[0]
    job, bucket = store.job(first), bench.emulator.root / store.bucket.name
    record, image, marker = (
        bucket / name for name in (f"jobs/{first}.json", f"images/{first}", Ticket(LAB, first).marker)
    )
    described = json.loads(os.getxattr(record, ATTRIBUTE))
    ids = [first]
    for number in range(1, count):
        image_id = uuid.uuid4().hex
        data = replace(job, image_id=image_id).to_json()
        _write(record.with_name(f"{image_id}.json"), data, _described(described, data))
        for file in (image, marker):
            name = file.with_name(image_id)
            if number % LINKS:
                os.link(file, name)
            else:
                _write(name, file.read_bytes(), os.getxattr(file, ATTRIBUTE))
        if number % LINKS == 0:
            image, marker = image.with_name(image_id), marker.with_name(image_id)
        ids.append(image_id)
    return store, ids


def _start(bench: Bench, store: JobStore, dispatchers: int, url: str) -> list[Part]:
    """Starts processes with equally many dispatchers each, up to a difference of one."""
    processes = min(PROCESSES, dispatchers)
    parts = []
    for number in range(processes):
        share = dispatchers // processes + (number < dispatchers % processes)
        log = bench.folder / f"{store.bucket.name}-several-{number}"
        module, environment = "benchmarks.machinery.dispatchers", bench.environment(store, url)
        parts.append(Part(log.name, module, [str(share), str(PLACES)], environment, log))
        parts[-1].start()
    return parts


def _said(part: Part) -> list[int]:
    """Waits for a process's end; returns how many jobs each of its dispatchers has done."""
    wait_until(lambda: not part.running, f"{part.name} does not end")
    try:
        said: list[int] = json.loads(part.printed()[-1])
    except (IndexError, ValueError):
        raise Problem(f"{part.name} ended badly: {part.printed()[-5:]}") from None
    return said


def _once(bench: Bench, store: JobStore, ids: list[str], written: Counter[str], index: list[str]) -> bool:
    """Tells whether every job ended once, with one attempt, or not at all, by the proxy, the records and the folder."""
    bucket = bench.emulator.root / store.bucket.name
    results = {file.stem for file in (bucket / "results").iterdir()}
    markers = {file.name for file in (bucket / "pending" / LAB).iterdir()}
    if {name.removeprefix(f"{PREFIX}{LAB}/") for name in index} != markers:
        raise Problem("the index of listings is not what is in the emulator's folder")
    ended = [store.job(image_id) for image_id in results]
    return (
        set(written.values()) == {1}
        and {f"results/{image_id}.json" for image_id in results} == set(written)
        and results | markers == set(ids)
        and not results & markers
        and all(job.state is State.DONE and job.attempts == 1 for job in ended)
    )


def _write(file: Path, data: bytes, described: bytes) -> None:
    file.write_bytes(data)
    os.setxattr(file, ATTRIBUTE, described)


def _described(like: dict[str, Any], data: bytes) -> bytes:
    """Returns the metadata that the emulator would keep for these bytes; clients check the checksum."""
    crc, md5 = google_crc32c.Checksum(data).digest(), hashlib.md5(data, usedforsecurity=False).digest()
    sums = {"Crc32c": base64.b64encode(crc).decode(), "Md5Hash": base64.b64encode(md5).decode()}
    return json.dumps({**like, **sums, "Etag": sums["Md5Hash"]}).encode()
