"""Audits a bucket after the storm: every image has one result or one failure, and nothing is left over.

The design allows orphans for a while: a client that dies before it writes the marker leaves an unfinished job without a
marker, a dispatcher that wakes up late leaves a result of a failed job, and a change by hand leaves a marker without a
job. The sweep repairs them (docs/jobs.md). So before an audit the test does what an operator would do: it runs
`grainserve reconcile`, removes damaged records, and waits for the jobs that this revives. Anything left then is a
fault.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.api_core import exceptions as api
from google.cloud import storage

from grainserve.cli.operations import LOOK_EVERY
from grainserve.dispatch.dispatcher import SWEEP_EVERY, SWEPT
from grainserve.errors import InvalidJob
from grainserve.jobs.job import Job, State
from grainserve.jobs.store import entry_of

EAGER = 0.8
"""Shortest pause between two looks of an idle dispatcher, as a share of the configured pause."""


@dataclass
class Audit:
    """The contents of a bucket.

    Attributes:
        jobs: number of jobs.
        done: number of jobs with a result.
        failed: number of failed jobs, by reason.
        submitters: number of jobs of each submitter.
        faults: descriptions of what must not be; empty if all is well.
    """

    jobs: int = 0
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    submitters: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def audit(bucket: storage.Bucket, promised: Collection[str], written: Mapping[str, int]) -> Audit:
    """Audits a bucket.

    Args:
        bucket: bucket, read past every proxy.
        promised: image ids that clients received.
        written: how often each result was written for one job.

    Returns:
        The audit.
    """
    while True:
        try:
            return _audit(bucket, promised, written)
        except api.NotFound:
            time.sleep(0.1)  # a dispatcher may drop a late result just now: look once more


def _audit(bucket: storage.Bucket, promised: Collection[str], written: Mapping[str, int]) -> Audit:
    objects = {blob.name: blob for blob in listed(bucket)}
    ids = {name.removeprefix("jobs/").removesuffix(".json") for name in objects if name.startswith("jobs/")}
    found = Audit(jobs=len(ids))
    found.faults += [f"{image_id}: lost: it was promised and has no job" for image_id in sorted(set(promised) - ids)]
    for image_id in sorted(ids):
        _audit_job(found, objects, image_id)
    found.faults += [f"{name}: written {times} times" for name, times in written.items() if times > 1]
    for name in objects:
        folder, _, rest = name.partition("/")
        if folder in ("results", "pending") and rest.rpartition("/")[2].removesuffix(".json") not in ids:
            found.faults.append(f"{name}: it belongs to no job")
    return found


def listed(bucket: storage.Bucket, prefix: str = "") -> list[storage.Blob]:
    """Returns the objects of a bucket."""
    return list(bucket.client.list_blobs(bucket, prefix=prefix))


def audit_idle(calls: Counter[str], seconds: float, *, dispatchers: int, submitters: int, unsettled: int) -> list[str]:
    """Compares idle dispatchers' calls to GCS with the limits in docs/jobs.md.

    Each dispatcher looks for work every five seconds, give or take a fifth: with one call, and at most two for each
    submitter that has markers. Each continues its sweep every minute: with two listings, and a call or two for each of
    at most 32 records that listings do not show to be done.

    Args:
        calls: number of calls to GCS, or to whatever answered in its place, by kind.
        seconds: duration of the count, s.
        dispatchers: number of dispatchers.
        submitters: number of submitters with markers that stay, such as those of damaged records.
        unsettled: number of records that listings do not show to be done, since no result was written before them.

    Returns:
        A description of the fault, or nothing.
    """
    looks = math.floor(seconds / (EAGER * LOOK_EVERY)) + 1
    steps = math.floor(seconds / SWEEP_EVERY) + 1
    most = dispatchers * (looks * (1 + 2 * submitters) + steps * (2 + 2 * min(unsettled, SWEPT)))
    if calls.total() <= most:
        return []
    minutes = seconds / 60
    kinds = ", ".join(f"{count / minutes:.0f} {kind}" for kind, count in calls.most_common())
    return [
        f"{calls.total() / minutes:.0f} calls to GCS in an idle minute, {most / minutes:.0f} at most are documented: "
        f"{kinds}"
    ]


def _audit_job(found: Audit, objects: Mapping[str, storage.Blob], image_id: str) -> None:
    """Audits one job: it must have one result, or one failure with its reason, and nothing else."""
    try:
        job = Job.from_json(objects[f"jobs/{image_id}.json"].download_as_bytes())
    except InvalidJob as error:
        found.faults.append(f"{image_id}: {error}")
        return
    found.submitters[job.submitter] += 1
    found.done += job.state is State.DONE
    if job.state is State.FAILED:
        found.failed[job.error.code if job.error else "no reason"] += 1
    result = objects.get(f"results/{image_id}.json")
    marked = any(name.startswith("pending/") and name.endswith(f"/{image_id}") for name in objects)
    # A process that died within a deletion may have deleted the image; then the record says so.
    deleted = job.error is not None and job.error.code == "deleted"
    rules = {
        "another's record": job.image_id != image_id,
        f"lost: {job.state} without a marker": not job.ended and not marked,
        f"still {job.state}": not job.ended and marked,
        f"a result, and {job.state}": not job.ended and result is not None,
        "done without a result": job.state is State.DONE and result is None,
        "failed without a reason": job.state is State.FAILED and job.error is None,
        "failed, and has a result": job.state is State.FAILED and result is not None,
        "ended, and its marker is left": job.ended and marked,
        "its image is gone": f"images/{image_id}" not in objects and not deleted,
        "done, and not in its submitter's history": (
            job.state is State.DONE and job.name is not None and entry_of(job).object_name not in objects
        ),
        "another's result": result is not None and _whose(result) != image_id,
    }
    found.faults += [f"{image_id}: {rule}" for rule, broken in rules.items() if broken]


def _whose(result: storage.Blob) -> str | None:
    """Returns the image id of a stored result; None if it is no result."""
    try:
        return str(json.loads(result.download_as_bytes())["metadata"]["imageId"])
    except (ValueError, LookupError, TypeError):
        return None
