"""A client that is killed now and then: submits images under keys, with a dispatcher of its own.

    python -m tests.faults.submitter COUNT SEED LEASE

Prints each image id that it was given. Started again it submits the same again, under the same keys. Works on until it
is killed.
"""

from __future__ import annotations

import sys
import time

from grainserve import Client, GrainserveError
from tests.faults.images import make_images


def main() -> None:
    """Submits, then works."""
    count, seed, lease = map(int, sys.argv[1:])
    client = Client(submitter="killed-client", concurrency=2, lease=lease)
    for number, image in enumerate(make_images(count, seed)):
        while True:
            try:
                print(client.submit(image, idempotency_key=f"{seed}-{number}"), flush=True)
                break
            except GrainserveError:
                time.sleep(0.2)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
