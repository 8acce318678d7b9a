"""Runs a client whose user presses Ctrl-C now and then: it analyzes images one after the other.

    python -m tests.faults.impatient COUNT SEED LEASE

Jobs that it submitted and did not fetch must be withdrawn before the process ends.
"""

from __future__ import annotations

import sys
import time

from grainserve import Client, GrainserveError
from tests.faults.images import make_images

SUBMITTER = "impatient-client"


def main() -> None:
    """Analyzes, then sleeps."""
    count, seed, lease = map(int, sys.argv[1:])
    with Client(submitter=SUBMITTER, concurrency=2, lease=lease) as client:
        for image in make_images(count, seed):
            try:
                client.analyze(image)
            except GrainserveError as error:
                print(f"{type(error).__name__}: {error}", flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
