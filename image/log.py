"""Lines of the entrypoint and its helpers, in the form of config/log4j2.xml: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime


def say(message: str, level: str = "INFO", logger: str = "image") -> None:
    """Prints one line of log."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = json.dumps({"time": time, "level": level, "logger": logger, "message": message})
    # print() would write the line's end by itself, and another thread's line could come between.
    print(f"{line}\n", end="", flush=True)


def pass_on(lines: Iterable[str]) -> None:
    """Prints lines of log as they are, and what Java says otherwise in their form: at its start, or when it crashes."""
    for line in lines:
        if line.startswith("{"):
            print(line, end="", flush=True)
        elif line.strip():
            say(line.rstrip(), logger="java")
