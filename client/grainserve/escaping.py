"""Foreign words made fit for a log or a terminal: what would steer either is written out."""

from __future__ import annotations

import logging
import re
from typing import Any

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that end a line, steer a terminal, or turn the direction of what follows."""
STEERING = re.compile(r"(?!\n)" + CONTROL.pattern)


def visible(text: str) -> str:
    r"""The text as one line: `\n` and `\x1b` in place of a line's end and an escape."""
    return CONTROL.sub(_written_out, text)


def steerless(text: str) -> str:
    """The text with its lines as they are and all other control characters written out."""
    return STEERING.sub(_written_out, text)


class LineFormatter(logging.Formatter):
    """One line an event, whatever words it holds; a traceback's lines are indented, so none looks like an event."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The event's line."""
        return visible(super().formatMessage(record).rstrip())

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback's lines."""
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).split("\n"))


def _written_out(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
