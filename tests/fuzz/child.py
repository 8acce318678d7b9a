"""One process that runs inputs, one after the other, and tells of each; `run` watches over it.

    python -m tests.fuzz.child tests.fuzz.targets SEED FIRST END

prints its peak of memory in KiB, then a JSON line an input: [index, target, outcome, milliseconds, peak, traceback
or null].
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

ADDRESS_SPACE = 8 * 2**30
"""Keeps the machine alive; what counts is the memory used, which `run` holds to a limit."""


def draw(made: Mapping[str, Target], seed: int, index: int) -> tuple[str, object]:
    """The target and the case of one input."""
    rng = Random(f"{seed}-{index}")
    (name,) = rng.choices(list(made), [target.share for target in made.values()])
    return name, made[name].make(rng)


def main(module: str, seed: int, first: int, end: int) -> None:
    """Runs the inputs from `first` up to `end`."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # Pillow's words on damaged files; a worker prints each once
    imported = importlib.import_module(module)
    made: dict[str, Target] = imported.targets()
    print(_peak(), flush=True)
    for index in range(first, end):
        name, case = draw(made, seed, index)
        faulthandler.dump_traceback_later(imported.SECONDS, exit=True)
        begin, words = time.perf_counter(), None
        try:
            outcome = made[name].run(case)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the find
            outcome, words = f"!{type(error).__name__}", traceback.format_exc()[-4000:]
        took = (time.perf_counter() - begin) * 1000
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([index, name, outcome, round(took, 3), _peak(), words]), flush=True)


def _peak() -> int:
    # Not getrusage's, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
