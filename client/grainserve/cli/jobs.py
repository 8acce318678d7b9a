"""The commands `grainserve jobs` and `grainserve jobs cancel`: list unfinished jobs, and cancel them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from grainserve import config
from grainserve.cli.terminal import FAILURE, errors, reported, say_error
from grainserve.errors import ImageNotFound, InvalidJob, InvalidOption
from grainserve.escaping import visible
from grainserve.jobs.job import MAX_ATTEMPTS, Job
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import JobStore, check_submitter
from grainserve.jobs.withdrawal import AT_ONCE, withdraw
from grainserve.storage.bucket import Bucket

app = typer.Typer()

MOST = 1_000_000
"""Most jobs that `--all` cancels. It bounds the listing; nobody has as many jobs."""


@dataclass(frozen=True)
class _Row:
    """A row of the list of unfinished jobs."""

    ticket: Ticket
    state: str
    created: datetime
    attempts: str
    problem: str


@app.callback(
    invoke_without_command=True,
    epilog="Examples:\n\ngrainserve jobs\n\ngrainserve jobs cancel 0f4c…\n\ngrainserve jobs cancel --all",
)
def list_jobs(
    ctx: typer.Context,
    submitter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose jobs; default GRAINSERVE_SUBMITTER, else the user's name.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="List the jobs of all submitters.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to list.")] = 100,
) -> None:
    """List unfinished jobs, the oldest first: image id, state, age, attempts begun, submitter, and the last problem.

    States: `queued`; `delayed` (until its next attempt); `running`; `abandoned` (its dispatcher died, and another one
    will take over); `unreadable` (its record is damaged, and no dispatcher works on it). Jobs that have ended are not
    listed: `grainserve poll ID` says how they ended.
    """
    if ctx.invoked_subcommand:
        return
    with reported():
        store = _store()
        found = store.pending.made(limit + 1, None if everyone else _name(submitter))
        rows = sorted(_rows(store, found[:limit]), key=lambda row: row.created)
        if rows:
            typer.echo(_line("image id", "state", "age", "attempts", "submitter", "last problem"))
        for row in rows:
            age = age_text((store.now() - row.created).total_seconds())
            typer.echo(_line(row.ticket.image_id, row.state, age, row.attempts, row.ticket.submitter, row.problem))
        if len(found) > limit:
            errors.print(f"there are more than {limit}: --limit shows more of them")
        elif not rows:
            whose = "" if everyone else f" of {_name(submitter)}; --everyone lists those of all submitters"
            errors.print(f"no unfinished jobs{whose}")


@app.command(
    epilog="Examples:\n\ngrainserve jobs cancel 0f4c… 77ab…\n\ngrainserve jobs cancel --all"
    "    (yours, as `grainserve jobs` lists them)"
)
def cancel(
    image_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Image ids, as `submit` or `jobs` printed them.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Cancel all unfinished jobs of GRAINSERVE_SUBMITTER, else of the user.")
    ] = False,
) -> None:
    """Cancel jobs that have not ended. Each fails as `cancelled`, even while it runs, and is not tried again.

    Jobs that have ended do not change. The image stays in the bucket; submit it again to have it measured after all.
    """
    with reported():
        if bool(image_ids) == every:
            raise InvalidOption(
                "give image ids, or --all for every unfinished job of yours; `grainserve jobs` lists them"
            )
        store = _store()
        if every:
            own = [ticket.image_id for ticket, _ in store.pending.made(MOST, _name(None))]
            cancelled = withdraw(store, own)
            typer.echo(f"{len(cancelled)} jobs cancelled")
            if left := store.pending.count(MOST, _name(None)):
                errors.print(f"{left} are left: `grainserve jobs` lists them")
                raise typer.Exit(FAILURE)
            return
        unknown = False
        for image_id in dict.fromkeys(image_ids or ()):
            try:
                done = store.cancel(image_id)
                typer.echo(f"{image_id}  {'cancelled' if done else f'{store.job(image_id).state} already'}")
            except (ImageNotFound, InvalidJob) as error:
                say_error(error, image_id)
                unknown = True
        if unknown:
            raise typer.Exit(FAILURE)


def _store() -> JobStore:
    return JobStore(Bucket(config.setting(None, config.BUCKET)))


def _name(given: str | None) -> str:
    return check_submitter(config.submitter(given))


def _rows(store: JobStore, found: list[tuple[Ticket, datetime]]) -> Iterator[_Row]:
    def row(ticket: Ticket, submitted: datetime) -> _Row | None:
        try:
            job = store.job(ticket.image_id)
        except InvalidJob as error:
            return _Row(ticket, "unreadable", submitted, "?", str(error))
        except ImageNotFound:  # deleted meanwhile
            return None
        return None if job.ended else _row(store, ticket, job)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from (made for made in pool.map(row, *zip(*found, strict=True)) if made) if found else ()


def _row(store: JobStore, ticket: Ticket, job: Job) -> _Row:
    problem = " ".join(job.error.message.split())[:100] if job.error else ""
    return _Row(ticket, job.stage(store.now()), job.created, f"{job.attempts} of {MAX_ATTEMPTS}", problem)


def _line(*parts: str) -> str:
    widths = (32, 10, 7, 8, 12)
    columns = [f"{part:<{width}}" for part, width in zip(parts, widths, strict=False)]
    return visible("  ".join([*columns, parts[-1]]).rstrip())


def age_text(seconds: float) -> str:
    """Returns a time as text, in the largest unit of which it holds at least two."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app, name="jobs")
