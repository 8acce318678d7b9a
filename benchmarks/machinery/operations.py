"""The cost of a job: requests to storage from submission to the end, by kind."""

from __future__ import annotations

from typing import Any

from benchmarks.machinery.bench import Bench, submit, wait_for
from benchmarks.machinery.meter import Meter


def operations(bench: Bench, jobs: int, dispatchers: int, *, keyed: bool) -> dict[str, Any]:
    """Counts requests to storage for each job, with a proxy.

    Inference takes a second. A longer inference renews the lease, which is one more request for each third of it
    (20 s). Requests are counted until the last job has ended, including looks of idle dispatchers. Polls are counted
    separately.

    Args:
        bench: servers.
        jobs: number of jobs, all submitted before work on the first begins.
        dispatchers: number of processes with four places each.
        keyed: whether each job has an idempotency key.
    """
    store = bench.store()
    with Meter(bench.emulator.url) as meter:
        seen = bench.through(meter.url, store)
        ids = submit(seen, jobs, keyed=keyed)
        with bench.dispatchers(dispatchers, store, meter.url):
            wait_for(lambda: jobs - store.pending.count(jobs), jobs, pause=0.2)
            charged, refused = meter.kinds()
            listed = meter.listed
        before = sum(meter.kinds()[0].values())
        for image_id in ids:
            seen.poll(image_id)
        polls = sum(meter.kinds()[0].values()) - before
    return {
        "jobs": jobs,
        "dispatchers": dispatchers,
        "keyed": keyed,
        "per_job": round(charged.total() / jobs, 3),
        "by_kind": {kind: round(count / jobs, 3) for kind, count in sorted(charged.items())},
        "refused_per_job": round(refused.total() / jobs, 3),
        "refused_by_kind": {kind: round(count / jobs, 3) for kind, count in sorted(refused.items())},
        "names_listed_per_job": round(listed / jobs, 3),
        "for_the_poll_that_brings_the_result": round(polls / jobs, 3),
    }
