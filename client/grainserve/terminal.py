"""How commands speak: standard output for what was asked for, standard error for all else, one line for an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from grainserve.errors import GrainserveError, InvalidConfiguration, InvalidImageId, InvalidOption

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

FAILURE, USAGE = 1, 2


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


def say_error(error: Exception, about: str = "") -> None:
    """One line for an error, with what it is about in front where it does not say so itself."""
    start = f"{about}: " if about and about not in str(error) else ""
    errors.print(f"[bold red]error:[/] {escape(start + str(error))}", soft_wrap=True)
