"""Runs several dispatchers in one process, each with its own client; at SIGTERM, prints how many jobs each has done.

python -m benchmarks.machinery.dispatchers COUNT PLACES
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from grainserve.cli.stopping import stop_signals
from grainserve.dispatch.dispatcher import DONE, Dispatcher
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe

GRACE = 60.0


def make(places: int) -> Dispatcher:
    """Makes a dispatcher as `grainserve dispatch` does."""
    store = JobStore(Bucket(os.environ["GRAINSERVE_BUCKET"]))
    inference, management = os.environ["GRAINSERVE_TORCHSERVE"], os.environ["GRAINSERVE_MANAGEMENT"]
    return Dispatcher(store, TorchServe(inference, management), concurrency=places)


def main(count: int, places: int) -> None:
    """Runs the dispatchers."""
    with stop_signals() as stopping:
        dispatchers = [make(places).start() for _ in range(count)]
        stopping.wait()
        with ThreadPoolExecutor(count) as pool:
            ended = list(pool.map(lambda each: each.stop(GRACE), dispatchers))
    if not all(ended):
        sys.exit("jobs in hand did not end")
    print(json.dumps([each.ended[DONE] for each in dispatchers]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
