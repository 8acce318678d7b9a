"""Log lines of the entry point and its helpers, in the form of config/log4j2.xml: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime


def say(message: str, level: str = "INFO", logger: str = "image") -> None:
    """Prints a log line."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": time, "level": level, "logger": logger, "message": message})
    # print() would write the line's end separately, and another thread's line could come between.
    print(f"{line}\n", end="", flush=True)


def pass_on(lines: Iterable[str]) -> None:
    """Prints TorchServe's log lines as they are, and Java's other lines (at its start, in a crash) in the same form."""
    for line in lines:
        if line.startswith("{"):
            print(line, end="", flush=True)
        elif line.strip():
            say(line.rstrip(), logger="java")
