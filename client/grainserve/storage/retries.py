"""Retries of actions that another writer's change thwarted: bounded, with growing pauses."""

from __future__ import annotations

import random
import time

from grainserve.errors import StorageError

MOST = 10
"""Tries before an action is given up: after so many, more than other dispatchers stands in its way."""
SHORTEST, LONGEST = 0.01, 0.5
"""Shortest and longest pause between tries, s; each pause is twice the last one."""

_chance = random.Random()


class Retries:
    """A count of the tries at one action.

    Args:
        action: what is tried, for the error's message.
    """

    def __init__(self, action: str) -> None:
        self._action = action
        self._lost = 0

    def again(self) -> None:
        """Counts a try that failed and waits before the next one, with jitter so that rivals do not march in step.

        Raises:
            StorageError: there were enough tries.
        """
        self._lost += 1
        if self._lost >= MOST:
            raise StorageError(f"{self._action} met a change of another's {MOST} times in a row: try again later")
        time.sleep(min(LONGEST, SHORTEST * 2.0 ** (self._lost - 1)) * _chance.uniform(0.5, 1.0))
