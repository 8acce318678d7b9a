"""How commands speak: standard output for what was asked for, standard error for all else, one line for an error."""

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
    """A console that no words steer, in a line or in a table's cell."""

    def render_str(self, text: str, **how: Any) -> Text:
        """As rich's, of a text without control characters."""
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
"""What stands for a letter where the terminal has none."""


@contextmanager
def reported(stopped: str = "stopped") -> Iterator[None]:
    """One clear line for an error of ours, and the exit code: 2 for usage, 1 for failure.

    Args:
        stopped: what to say after Ctrl-C.
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
    """Lets a terminal or file in another encoding than UTF-8 show `um` for µm, instead of ending in an error."""
    codecs.register_error("grainserve.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="grainserve.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(plain_letter, error.object[error.start : error.end])), error.end


def plain_letter(letter: str) -> str:
    """ASCII that stands for a letter: `phi` for φ, e for é, 2 for ², a hyphen for a line of a table, else `?`."""
    if letter in PLAIN:
        return PLAIN[letter]
    if unicodedata.combining(letter):
        return ""
    if 0x2500 <= ord(letter) < 0x25A0:  # lines and blocks
        return "-"
    decomposed = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return decomposed or "?"


def say_error(error: Exception, about: str = "") -> None:
    """One line for an error, with what it is about in front where it does not say so itself."""
    start = f"{about}: " if about and about not in str(error) else ""
    errors.print(f"[bold red]error:[/] {escape(visible(start + str(error)))}", soft_wrap=True)
