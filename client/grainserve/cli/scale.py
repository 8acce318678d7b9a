"""The command `grainserve scale`: prints the scale that is found for each image, before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from grainserve.cli.image_files import gather
from grainserve.cli.request_options import LENGTH
from grainserve.cli.terminal import FAILURE, console, reported, say_error
from grainserve.errors import GrainserveError, InvalidConfiguration
from grainserve.images import display_pixels
from grainserve.scale.find import Mode, find_scale

_HELP = "Options of the request"
ScaleMode = Annotated[
    Mode | None,
    typer.Option(
        "--scale",
        help="Find the scale: file (from the file's metadata) or auto (from there, else from a scale bar).",
        rich_help_panel=_HELP,
    ),
]
BarUm = Annotated[
    float | None,
    typer.Option(
        help="Length of the scale bar in µm, for --scale auto; default: read it.", rich_help_panel=_HELP, **LENGTH
    ),
]


def scale(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files, or folders of them.")],
    mode: Annotated[Mode, typer.Option("--scale", help="Where to look, as in `analyze`.")] = "auto",
    bar_um: Annotated[float | None, typer.Option(help="Length of the scale bar in µm.", **LENGTH)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the scale bars found on the image, for checking.")
    ] = None,
) -> None:
    """Print the size of the pixels of images and where it comes from: µm per px, source, image. Needs no server."""
    with reported():
        inputs = gather(images)
        if out is not None and len(inputs.images) > 1:
            raise InvalidConfiguration("--out takes one picture: give one image")
        failed = False
        for image in inputs.images:
            if out is not None:
                _draw(image, out)
            try:
                found = find_scale(image, mode, bar_um)
            except GrainserveError as error:
                failed = True
                say_error(error, str(image))
            else:
                console.print(
                    f"{found.um_per_px:.5g} µm per px  {escape(found.source)}  {escape(str(image))}", soft_wrap=True
                )
        inputs.say_passed_over()
        if failed:
            raise typer.Exit(FAILURE)


def _draw(image: Path, out: Path) -> None:
    from grainserve.scale.bar import find_bars  # noqa: PLC0415
    from grainserve.scale.bar_picture import draw_bars  # noqa: PLC0415

    pixels = display_pixels(image)
    draw_bars(pixels, find_bars(pixels)).save(out, "PNG")


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve scale thin_section.jpg --out bar.png\n\n"
        "grainserve scale thin_section.jpg --bar-um 500\n\n"
        "grainserve scale scans/*.tif --scale file"
    )(scale)
