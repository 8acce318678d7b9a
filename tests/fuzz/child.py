"""Runs inputs one after the other in one process, and reports each; `run` supervises it.

    python -m tests.fuzz.child tests.fuzz.targets SEED FIRST END

prints its memory in KiB, then a JSON line for each input: [index, target, outcome, milliseconds, the most memory held
above the first figure in KiB, traceback or null]. It ends after an input that held too much.
"""

from __future__ import annotations

import faulthandler
import gc
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

SPACE_KIB = 1024 * 1024
"""Limit of the process's address space, which protects the machine; each target has its own limit of memory."""


def draw(made: Mapping[str, Target], seed: int, index: int) -> tuple[str, object]:
    """Draws the target and the case of one input."""
    rng = Random(f"{seed}-{index}")
    (name,) = rng.choices(list(made), [target.share for target in made.values()])
    return name, made[name].make(rng)


def main(module: str, seed: int, first: int, end: int) -> None:
    """Runs the inputs from `first` up to `end`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")  # Pillow's warnings about damaged files; a worker prints each once
    imported = importlib.import_module(module)
    made: dict[str, Target] = imported.targets()
    space = (_status("VmSize") + SPACE_KIB) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    gc.collect()
    gc.freeze()
    base = _status("VmRSS")
    print(base, flush=True)
    for index in range(first, end):
        name, case = draw(made, seed, index)
        time.sleep(1e-4)  # lets a thread that has answered release its request
        gc.collect()  # garbage of earlier inputs does not count
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # count the peak from here on
        faulthandler.dump_traceback_later(imported.SECONDS, exit=True)
        begin, words = time.perf_counter(), None
        try:
            outcome = made[name].run(case)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the find
            outcome, words = f"!{type(error).__name__}", traceback.format_exc()[-4000:]
        took = (time.perf_counter() - begin) * 1000
        faulthandler.cancel_dump_traceback_later()
        del case
        added = _status("VmHWM") - base
        if too_much := added > made[name].memory_mib * 1024:
            outcome, words = "!Memory", f"{added / 1024:.0f} MiB more than before the first input\n{words or outcome}"
        print(json.dumps([index, name, outcome, round(took, 3), added, words]), flush=True)
        if too_much:  # its garbage would count as the next input's
            return


def _status(of: str) -> int:
    # getrusage's peak begins with the peak of the parent process.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{of}:")[2].split()[0])


if __name__ == "__main__":
    main(sys.argv[1], *(int(argument) for argument in sys.argv[2:]))
