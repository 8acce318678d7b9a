"""Limits a dispatcher's requests at TorchServe: enough that no worker waits, few enough that little is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from grainserve.errors import TorchServeError, TorchServeUnreachable
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management

HEADROOM = 2
"""Requests for each worker: one at work, and one queued, so that the worker finds the next one at once."""


class Capacity:
    """Places for requests, as many as TorchServe has use for.

    TorchServe says how many workers are ready and how many requests wait in its queues. While fewer requests wait than
    there are workers, each look adds a place. When more requests wait, because others send some, too, a look takes half
    of the places away. So dispatchers that know nothing of each other share the workers, as TCP connections share a
    line. The requests in TorchServe's queue die with it, so a full queue is nothing to aim for.

    Args:
        torchserve: TorchServe to ask; without a management address there are always `most` places.
        most: largest number of places.
        interval: seconds between two looks, about.
        clock: clock, s, from any origin.
        chance: random generator that draws when to look; None makes one, so that a caller's `random.seed` does not set
            dispatchers in step.
    """

    def __init__(
        self,
        torchserve: TorchServe,
        most: int,
        *,
        interval: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._management = torchserve.management
        self._most = most
        self._interval = interval
        self._clock = clock
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._free = threading.Condition()
        self._taken = 0
        self._places = 0 if torchserve.management else most
        self._looked = float("-inf")

    def take(self) -> bool:
        """Takes a place if there is one; looks at TorchServe first if the last look is old.

        Returns:
            Whether a place was taken.

        Raises:
            TorchServeUnreachable, TorchServeError: management does not answer, or not as it should.
        """
        if self._management:
            self._look(self._management)
        with self._free:
            if self._taken >= self._places:
                return False
            self._taken += 1
            return True

    def give_back(self) -> None:
        """Frees a place."""
        with self._free:
            self._taken -= 1
            self._free.notify()

    def wait(self, timeout: float) -> None:
        """Waits until a place may be free, for `timeout` seconds at most."""
        with self._free:
            self._free.wait(timeout)

    @property
    def places(self) -> int:
        """Number of places, taken ones included."""
        return self._places

    def _look(self, management: Management) -> None:
        with self._lock:
            if self._clock() - self._looked < self._interval:
                return
            self._looked = self._clock() - self._chance.uniform(0, self._interval / 4)  # dispatchers look out of step
            try:
                workers, waiting = management.load()
            except TorchServeUnreachable:
                self._places = 0
                raise
            except TorchServeError:
                self._looked = float("-inf")
                raise
            most = min(self._most, HEADROOM * workers)
            if waiting > workers:
                self._places = min(most, max(1, self._places // 2))
            else:
                self._places = min(most, max(workers, self._places + 1))
