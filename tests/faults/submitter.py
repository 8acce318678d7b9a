"""Runs a client that is killed now and then: it submits images under keys, with its own dispatcher.

    python -m tests.faults.submitter COUNT SEED LEASE [AGAIN]

It prints each image id that it receives. When started again it submits the same images under the same keys. With AGAIN
it deletes that many of them in between, whatever their state, and submits them again under their keys; then it says
that all are in. It works on jobs until it is killed.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from grainserve import Client, GrainserveError
from grainserve.errors import ImageNotFound
from tests.faults.images import make_images

ALL_IN = "all in"
T = TypeVar("T")


def insist(on: Callable[[], T]) -> T:
    """Repeats a call until it succeeds."""
    while True:
        try:
            return on()
        except GrainserveError:
            time.sleep(0.2)


def main() -> None:
    """Submits, then works on jobs."""
    count, seed, lease, *again = map(int, sys.argv[1:])
    client = Client(submitter="killed-client", concurrency=2, lease=lease)
    images = list(make_images(count, seed))
    chance = random.Random(seed)
    twice = chance.sample(range(count), *again) if again else []

    def submit(number: int) -> str:
        return insist(lambda: client.submit(images[number], idempotency_key=f"{seed}-{number}"))

    def delete(image_id: str) -> None:
        with suppress(ImageNotFound):  # this very deletion did it, and its answer was lost
            client.store.delete(image_id)

    for number in range(count):
        print(submit(number), flush=True)
    for number in twice:
        time.sleep(chance.uniform(0, 1))
        image_id = submit(number)
        insist(lambda: delete(image_id))  # noqa: B023 - called at once
        print(submit(number), flush=True)
    if again:
        print(ALL_IN, flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
