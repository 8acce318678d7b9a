"""Submits objects of readable buckets: many at once, each accepted or refused on its own."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from grainserve.cli.terminal import errors, say_error
from grainserve.errors import GrainserveError, IdempotencyConflict, ImageRejected, InvalidJob, ObjectNotFound
from grainserve.escaping import visible
from grainserve.jobs.references import Reference

Readable = Annotated[
    str | None,
    typer.Option(
        metavar="BUCKET,…",
        help="Buckets, or folders as BUCKET/FOLDER, whose objects may be submitted by their gs:// URI; default "
        "GRAINSERVE_READABLE, else none.",
    ),
]

AT_ONCE = 16
"""Objects submitted at the same time: each costs six calls to storage."""
OF_ONE_OBJECT = (ImageRejected, ObjectNotFound, IdempotencyConflict, InvalidJob)
"""Errors that concern one object; every other error ends the command."""
NAMED = 10
"""Refused objects that are named; the others are only counted."""


def submit_all(references: Sequence[Reference], submit: Callable[[Reference], str], *, bare: bool) -> int:
    """Submits objects and prints an image id and a URI a line, in order; then says what was refused, and why.

    Args:
        references: objects to submit.
        submit: submits an object; returns its image id.
        bare: whether to print the id alone, where only one object can be meant.

    Returns:
        The number of refused objects.

    Raises:
        StorageError: storage does not answer. What was printed stays submitted, and the same call goes on from there.
    """

    def submitted(reference: Reference) -> str | GrainserveError:
        try:
            return submit(reference)
        except OF_ONE_OBJECT as error:
            return error

    refused: list[tuple[Reference, GrainserveError]] = []
    columns = (TextColumn("submitting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="grainserve-submission")
    try:
        # Lines go past the bar on a terminal, and into the file where standard output is one.
        with Progress(*columns, console=errors, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
            for reference, answer in zip(progress.track(references), pool.map(submitted, references), strict=True):
                if isinstance(answer, str):
                    typer.echo(answer if bare else visible(f"{answer}  {reference.uri}"))
                else:
                    refused.append((reference, answer))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, only what has begun ends
    for reference, error in refused[:NAMED]:
        say_error(error, reference.uri)
    if refused:
        counts = Counter(error.code for _, error in refused)
        reasons = ", ".join(f"{count} {code}" for code, count in counts.most_common())
        errors.print(f"{len(refused)} of {len(references)} objects were refused: {escape(reasons)}", soft_wrap=True)
    return len(refused)
