"""Reads a bucket after the storm: every image has one result or one failure, and nothing is left over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.cloud import storage

from grainserve.jobs import Job, State


@dataclass
class Audit:
    """What a bucket holds.

    Attributes:
        jobs: how many jobs there are.
        done: jobs with a result.
        failed: jobs that failed, by reason.
        submitters: how many jobs each has.
        faults: what must not be, in words; empty when all is well.
    """

    jobs: int = 0
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    submitters: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def audit(bucket: storage.Bucket, promised: Collection[str], written: Mapping[str, int]) -> Audit:
    """Audits a bucket.

    Args:
        bucket: read past every proxy.
        promised: image ids that a client was given.
        written: how often each result was written.

    Returns:
        The audit.
    """
    objects = {blob.name: blob for blob in listed(bucket)}
    ids = {name.removeprefix("jobs/").removesuffix(".json") for name in objects if name.startswith("jobs/")}
    found = Audit(jobs=len(ids))
    found.faults += [f"{image_id}: lost: it was promised and has no job" for image_id in sorted(set(promised) - ids)]
    for image_id in sorted(ids):
        _audit_job(found, objects, image_id, image_id in promised)
    found.faults += [f"{name}: written {times} times" for name, times in written.items() if times > 1]
    for name in objects:
        folder, _, rest = name.partition("/")
        if folder in ("results", "pending") and rest.rpartition("/")[2].removesuffix(".json") not in ids:
            found.faults.append(f"{name}: it belongs to no job")
    return found


def listed(bucket: storage.Bucket, prefix: str = "") -> list[storage.Blob]:
    """The objects of a bucket."""
    return list(bucket.client.list_blobs(bucket, prefix=prefix))


def _audit_job(found: Audit, objects: Mapping[str, storage.Blob], image_id: str, promised: bool) -> None:
    """One job: one result, or one failure with its reason, and nothing else."""
    job = Job.from_json(objects[f"jobs/{image_id}.json"].download_as_bytes())
    found.submitters[job.submitter] += 1
    result = objects.get(f"results/{image_id}.json")
    marked = any(name.startswith("pending/") and name.endswith(f"/{image_id}") for name in objects)
    if not job.ended and not marked and not promised:
        return  # its submission died before it was one
    found.done += job.state is State.DONE
    if job.state is State.FAILED:
        found.failed[job.error.code if job.error else "no reason"] += 1
    rules = {
        f"lost: {job.state} without a marker": not job.ended and not marked,
        f"still {job.state}": not job.ended and marked,
        "done without a result": job.state is State.DONE and result is None,
        "failed without a reason": job.state is State.FAILED and job.error is None,
        "failed, and has a result": job.state is State.FAILED and result is not None,
        "ended, and its marker is left": job.ended and marked,
        "its image is gone": f"images/{image_id}" not in objects,
        "another's result": result is not None
        and json.loads(result.download_as_bytes())["metadata"]["imageId"] != image_id,
    }
    found.faults += [f"{image_id}: {rule}" for rule, broken in rules.items() if broken]
