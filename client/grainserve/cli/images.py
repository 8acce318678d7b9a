"""The commands `grainserve images` and `grainserve images scale`: list a submitter's images, and set their scale."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from grainserve import config
from grainserve.cli.jobs import age_text
from grainserve.cli.terminal import FAILURE, errors, reported, say_error
from grainserve.errors import ImageNotFound, InvalidJob
from grainserve.escaping import visible
from grainserve.gateway.history import History, Wanted
from grainserve.jobs.job import State
from grainserve.jobs.store import JobStore, check_submitter
from grainserve.library.scales import Asked, revision
from grainserve.scale.typed import scale_text
from grainserve.storage.bucket import Bucket

app = typer.Typer()

WIDTHS = (32, 7, 7, 7, 12)


@app.callback(
    invoke_without_command=True,
    epilog="Examples:\n\ngrainserve images --search sand\n\ngrainserve images --tag quartz --limit 500\n\n"
    "grainserve images scale '1 mm = 412 px' 0f4c… 77ab…",
)
def list_images(
    ctx: typer.Context,
    *,
    search: Annotated[str, typer.Option(metavar="TEXT", help="Images with this text in their name or a tag.")] = "",
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Images with this tag.")] = None,
    state: Annotated[State | None, typer.Option(help="Images whose job is in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most images to list.")] = 50,
    submitter: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose images; default GRAINSERVE_SUBMITTER, else the user's name."),
    ] = None,
) -> None:
    """List images, the newest first: image id, state, age, grains, scale, name and tags, as the page does.

    Tiles of a large image are not listed. Images that were submitted before 2026-12-02 are once `grainserve reconcile`
    has run.
    """
    if ctx.invoked_subcommand:
        return
    with reported():
        store, whose = _store(), check_submitter(config.submitter(submitter))
        history = History(store)
        found: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None and len(found) < limit:
            some, after = history.page(whose, Wanted(limit - len(found), after, search, tag, state))
            found += some
        history.close()
        if found:
            typer.echo(_line("image id", "state", "age", "grains", "scale", "name"))
        for image in found:
            typer.echo(_row(store, image))
        if after is not None:
            errors.print(f"there may be more than {limit}: --limit shows more of them")
        elif not found:
            errors.print(f"no such images of {whose}")


@app.command(epilog="Example:\n\ngrainserve images scale '1 mm = 412 px' 0f4c… 77ab…")
def scale(
    text: Annotated[
        str, typer.Argument(metavar="SCALE", help="2.5 µm/px, 2,5, 0.4 px/µm, 2500 nm/px, 1 mm = 412 px; or none.")
    ],
    image_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Image ids, as `submit` or `images` printed.")],
) -> None:
    """Set the scale of images after they were submitted. Nothing is measured again, and every later result has it."""
    with reported():
        none = text.strip().lower() == "none"
        asked = Asked(um_per_px=None, has_number=True) if none else Asked(text=text)
        make, store, unknown = revision(asked, config.submitter(None)), _store(), False
        for image_id in dict.fromkeys(image_ids):
            try:
                store.job(image_id)
            except (ImageNotFound, InvalidJob) as error:
                say_error(error, image_id)
                unknown = True
            else:
                now = store.scales.revise(image_id, make)[-1]
                typer.echo(f"{image_id}  {now.text}")
        if unknown:
            raise typer.Exit(FAILURE)


def _store() -> JobStore:
    return JobStore(Bucket(config.setting(None, config.BUCKET)))


def _row(store: JobStore, image: dict[str, Any]) -> str:
    grains = str(image.get("grains", ""))
    scale = scale_text(image["umPerPx"]) if image.get("umPerPx") else ""
    labels = "  ".join([image["name"], *(f"#{tag}" for tag in image["tags"])]).strip()
    problem = f"  ({image['error']['code']})" if "error" in image else ""
    age = age_text((store.now() - datetime.fromisoformat(image["created"])).total_seconds())
    return _line(image["imageId"], image["state"], age, grains, scale, labels + problem)


def _line(*parts: str) -> str:
    columns = [f"{part:<{width}}" for part, width in zip(parts, WIDTHS, strict=False)]
    return visible("  ".join([*columns, parts[-1]]).rstrip())


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app, name="images")
