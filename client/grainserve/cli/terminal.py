"""Terminal output: results go to standard output, everything else to standard error, errors take one line."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from grainserve.errors import GrainserveError, InvalidConfiguration, InvalidImageId, InvalidOption
from grainserve.escaping import steerless, visible


class _Steady(Console):
    """A console that prints no control characters, neither in lines nor in cells of tables."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Renders the text as rich does, without its control characters."""
        return super().render_str(steerless(text), **how)


console = _Steady(highlight=False)
errors = _Steady(stderr=True, highlight=False)

FAILURE, USAGE = 1, 2

PLAIN = {
    "µ": "u", "μ": "u", "φ": "phi", "σ": "sigma", "θ": "theta", "π": "pi", "ℓ": "l",
    "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "±": "+-", "≥": ">=", "≤": "<=", "≈": "~", "√": "sqrt",
    "⁻": "-", "Σ": "sum", "∞": "inf",
    "°": "deg", "→": "->", "’": "'", "‘": "'", "“": '"', "”": '"', "†": "+", "•": "*", "…": "...",
    "│": "|", "┃": "|", "║": "|",
}  # fmt: skip
"""ASCII replacements of letters that a terminal's encoding may lack."""


@contextmanager
def reported(stopped: str = "stopped") -> Iterator[None]:
    """Turns an error of ours in its block into one line and an exit code: 2 for usage, 1 for failure.

    Args:
        stopped: message after Ctrl-C.
    """
    try:
        yield
    except (InvalidOption, InvalidConfiguration, InvalidImageId) as error:
        say_error(error)
        raise typer.Exit(USAGE) from None
    except (GrainserveError, OSError) as error:
        say_error(error)
        raise typer.Exit(FAILURE) from None
    except KeyboardInterrupt:
        errors.print(stopped)
        raise typer.Exit(130) from None


def readable_anywhere() -> None:
    """Makes output in an encoding other than UTF-8 replace letters that it lacks, such as µm by `um`, not fail."""
    codecs.register_error("grainserve.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="grainserve.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(plain_letter, error.object[error.start : error.end])), error.end


def plain_letter(letter: str) -> str:
    """Returns ASCII that replaces a letter: `phi` for φ, e for é, 2 for ², a hyphen for a line of a table, else `?`."""
    if letter in PLAIN:
        return PLAIN[letter]
    if unicodedata.combining(letter):
        return ""
    if 0x2500 <= ord(letter) < 0x25A0:  # lines and blocks
        return "-"
    decomposed = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return decomposed or "?"


def say_error(error: Exception, about: str = "") -> None:
    """Prints an error as one line.

    Args:
        error: error to print.
        about: file or id that the error is about; printed in front unless the message names it.
    """
    start = f"{about}: " if about and about not in str(error) else ""
    errors.print(f"[bold red]error:[/] {escape(visible(start + str(error)))}", soft_wrap=True)


def say_note(text: str) -> None:
    """Prints one line on standard error that is no error."""
    errors.print(escape(visible(text)), soft_wrap=True)
