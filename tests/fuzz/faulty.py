"""A target with faults that the fuzzer must notice: the fuzzer's own test."""

from __future__ import annotations

import os
import time
from random import Random

SECONDS = 2.0
MIB = 2**20


class Faulty:
    """A target that shows each fault now and then."""

    share = 1.0
    memory_mib = 256

    def make(self, rng: Random) -> int:
        return rng.randrange(10)

    def run(self, case: int) -> str:
        match case:
            case 0:
                raise KeyError("nobody declares this")
            case 1:
                os.abort()
            case 2:
                assert len(b"x" * (400 * MIB)) == 400 * MIB
            case 3:
                time.sleep(60)
        return "fine"


def targets() -> dict[str, Faulty]:
    """Returns the one target."""
    return {"faulty": Faulty()}
