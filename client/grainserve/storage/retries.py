"""Another try at what somebody else's change thwarted: bounded, and later each time."""

from __future__ import annotations

import random
import time

from grainserve.errors import StorageError

MOST = 10
"""Tries before it is given up: who loses as often is up against something other than colleagues."""
SHORTEST, LONGEST = 0.01, 0.5
"""Pauses between tries, s; they double."""

_chance = random.Random()


class Retries:
    """Counts the tries at one thing.

    Args:
        action: what is tried, for the error.
    """

    def __init__(self, action: str) -> None:
        self._action = action
        self._lost = 0

    def again(self) -> None:
        """Waits before the next try, with jitter so that rivals do not march in step.

        Raises:
            StorageError: there were enough.
        """
        self._lost += 1
        if self._lost >= MOST:
            raise StorageError(f"{self._action} met a change of another's {MOST} times in a row: try again later")
        time.sleep(min(LONGEST, SHORTEST * 2.0 ** (self._lost - 1)) * _chance.uniform(0.5, 1.0))
