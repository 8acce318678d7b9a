"""A target whose inputs each keep memory below the limit, which adds up: the fuzzer's own test."""

from __future__ import annotations

from random import Random

SECONDS = 10.0


class Hoarding:
    """A target that holds 100 MiB more with each input."""

    share = 1.0
    memory_mib = 256

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def make(self, rng: Random) -> int:
        return rng.randrange(256)

    def run(self, case: int) -> str:
        self._kept.append(bytes([case or 1]) * (100 * 2**20))
        return "fine"


def targets() -> dict[str, Hoarding]:
    """Returns the one target."""
    return {"hoarding": Hoarding()}
