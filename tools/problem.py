"""Failures that a person can mend, shown as one line and never as a traceback."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 2**20


class Problem(Exception):
    """A failure whose message says what is wrong and what to do about it."""


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
        folder: folder; if it does not exist yet, its nearest existing parent is checked.
        need_mib: free space needed, MiB.
        what: what needs the space, in words for the message.

    Raises:
        Problem: less space is free.
    """
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free // MIB
    if free < need_mib:
        raise Problem(
            f"{what} needs {need_mib} MiB of free disk, {existing} has {free} MiB. Free some space and try again."
        )
