"""Escapes the control characters of foreign text, so that it cannot forge lines in a log or steer a terminal."""

from __future__ import annotations

import logging
import re
from typing import Any

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that end a line, steer a terminal, or turn the direction of the text after them."""
STEERING = re.compile(r"(?!\n)" + CONTROL.pattern)


def visible(text: str) -> str:
    r"""Returns the text as one line, with control characters written out: a line's end as `\n`, an escape as `\x1b`."""
    return CONTROL.sub(_written_out, text)


def steerless(text: str) -> str:
    """Returns the text with its lines as they are and all other control characters written out."""
    return STEERING.sub(_written_out, text)


class LineFormatter(logging.Formatter):
    """A log formatter that writes each event as one line, whatever its text holds.

    The lines of a traceback are indented, so that none looks like an event.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Returns the event's line."""
        return visible(super().formatMessage(record).rstrip())

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Returns the traceback's lines, indented."""
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).split("\n"))


def _written_out(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
