"""The command `grainserve weights push`: uploads a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from grainserve import config
from grainserve.cli.terminal import errors, reported
from grainserve.errors import InvalidConfiguration
from grainserve.storage import checkpoints

app = typer.Typer(no_args_is_help=True, help="Checkpoints in the weights bucket.")


@app.command(epilog="Example:  grainserve weights push sam_vit_h_4b8939.pth --name sam_vit_h.pth")
def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint file.")],
    name: Annotated[str | None, typer.Option(help="Object name; default the file's name.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Default GRAINSERVE_WEIGHTS_BUCKET.")] = None,
    create_bucket: Annotated[bool, typer.Option("--create-bucket", help="Create the bucket if it is missing.")] = False,
) -> None:
    """Upload a checkpoint, checked by CRC32C; print its gs:// URI and generation."""
    with reported():
        to = config.setting(bucket, config.WEIGHTS_BUCKET)
        if not file.is_file():
            raise InvalidConfiguration(f"{file} is not a file: give a checkpoint")
        columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, console=errors, transient=True) as progress:
            task = progress.add_task("", total=file.stat().st_size)
            pushed = checkpoints.push(
                file,
                to,
                name,
                create_bucket=create_bucket,
                progress=lambda sent: progress.update(task, completed=sent),
            )
        already = "" if pushed.uploaded else "  (the same bytes were there already)"
        typer.echo(f"{pushed.uri}  generation {pushed.generation}  crc32c {pushed.crc32c}{already}")


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app, name="weights")
