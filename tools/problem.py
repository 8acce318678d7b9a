"""Failures that a person can mend: shown as one line, never as a traceback."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 2**20


class Problem(Exception):
    """What is wrong and what to do about it, in words for the person at the terminal."""


def main_exit(main: Callable[[], int]) -> None:
    """Runs a command line entry and exits; a `Problem` becomes one line on stderr and exit code 1."""
    try:
        code = main()
    except Problem as problem:
        print(f"grainserve: {problem}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def require_disk(folder: Path, need_mib: int, what: str) -> None:
    """Checks that the file system of `folder` has room.

    Args:
        folder: A folder that exists, or will; its nearest existing parent is looked at.
        need_mib: Free space wanted, in MiB.
        what: What the space is for, as it should read in the message.

    Raises:
        Problem: Less is free.
    """
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free // MIB
    if free < need_mib:
        raise Problem(
            f"{what} needs {need_mib} MiB of free disk, {existing} has {free} MiB. Free some space and try again."
        )
