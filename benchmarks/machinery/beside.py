"""Compares ours with the obvious design: a Flask server that keeps jobs in its memory, with a thread for each upload.

Both take uploads over HTTP, use the same inference server, and get the same load: each user uploads an image, waits the
second that inference takes, polls every tenth of a second until the result is there, and uploads the next. Flask needs
as many threads as there are users, and may start them; ours is one gateway process with as many places. So both have
the same number of jobs in flight. TorchServe's queue, which Flask would overflow and report as a failure, plays no
part.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import requests

from benchmarks.machinery.bench import SECONDS, Bench, Gateway, png, wait_until
from tests.faults.part import Part
from tools import ports
from tools.problem import Problem

USERS = 16
LEASE = 5
"""Our gateway's lease, s, in the runs that kill it: the time that its jobs then wait is not measured."""


def beside(bench: Bench, rounds: int, killed_with: int) -> dict[str, Any]:
    """Measures jobs a second of both, and the jobs that each loses when it is killed and started again.

    A job is lost if the client has its image id but the restarted server does not know it.

    Args:
        bench: servers.
        rounds: jobs of each user in the measurement of the rate.
        killed_with: number of uploads in hand when the server is killed.
    """
    jobs = rounds * USERS
    return {
        "users": USERS,
        "jobs": jobs,
        "killed_with": killed_with,
        "obvious": _measure(lambda: flask(bench), jobs, killed_with),
        "ours": _measure(
            lambda: bench.gateway(bench.store(), "--dispatch", str(USERS), "--lease", str(LEASE)), jobs, killed_with
        ),
    }


def flask(bench: Bench) -> Gateway:
    """Starts the obvious design's server."""
    port = ports.choose_free(1)[0]
    command = [str(port), bench.inference]
    log = bench.folder / f"flask-{port}"
    return Gateway(Part("flask", "benchmarks.side_by_side.obvious", command, {}, log), port)


def _measure(make: Callable[[], Gateway], jobs: int, killed_with: int) -> dict[str, Any]:
    return {**_rate(make(), jobs), "lost_by_a_kill": _kill(make(), killed_with)}


def _rate(server: Gateway, jobs: int) -> dict[str, float]:
    image = png()
    with server.running() as session, ThreadPoolExecutor(USERS) as users:

        def one(_: int) -> None:
            image_id = server.upload(session, image)
            time.sleep(SECONDS)
            while (answer := server.poll(session, image_id)).status_code == 202:
                time.sleep(0.1)
            answer.raise_for_status()

        process = psutil.Process(server.part.pid)
        list(users.map(one, range(USERS)))  # warm
        cpu, began = sum(process.cpu_times()[:2]), time.monotonic()
        list(users.map(one, range(jobs)))
        seconds = time.monotonic() - began
        cpu = sum(process.cpu_times()[:2]) - cpu
    return {"jobs_per_second": round(jobs / seconds, 2), "cpu_seconds_per_job": round(cpu / jobs, 4)}


def _kill(server: Gateway, count: int) -> int:
    """Uploads, kills at once, starts again and waits for all known jobs; returns how many are unknown."""
    image = png()
    with server.running() as session, ThreadPoolExecutor(USERS) as users:
        ids = list(users.map(lambda _: server.upload(session, image), range(count)))
        server.part.kill()
        server.start()
        states: dict[str, int] = {}

        def settled() -> bool:
            for image_id in ids:
                if states.get(image_id, 202) == 202:
                    states[image_id] = _status(server, session, image_id)
            return 202 not in states.values()

        wait_until(settled, "jobs of a server that was killed do not end")
    strange = set(states.values()) - {200, 404}
    if strange:
        raise Problem(f"{server.part.name} answered {strange}")
    return sum(status == 404 for status in states.values())


def _status(server: Gateway, session: requests.Session, image_id: str) -> int:
    return server.poll(session, image_id).status_code
