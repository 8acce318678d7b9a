"""The command `grainserve segment`: measures the objects that somebody points at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from grainserve import config
from grainserve.cli.image_files import SEGMENTS
from grainserve.cli.output import measured_columns, number_text, table_of_numbers
from grainserve.cli.request_options import Crop, IgnoreBottom, Label, UmPerPx, given_options
from grainserve.cli.scale import BarUm, ScaleMode
from grainserve.cli.terminal import console, reported
from grainserve.contract import number
from grainserve.errors import InvalidOption
from grainserve.escaping import visible
from grainserve.images import ImageFile
from grainserve.prompts.best import best_masks
from grainserve.prompts.image import PromptedImage
from grainserve.prompts.picture import draw_prompts
from grainserve.prompts.prompt import Prompt
from grainserve.result import Result
from grainserve.scale import with_scale
from grainserve.torchserve.inference import TorchServe

OUTSIDE = "not"
"""The word before a point outside the object, in an object's text."""


def segment(
    ctx: typer.Context,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file, up to 1024 px on the longer side.")],
    *,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A point in the object, px from the top left; repeatable.")
    ] = None,
    not_: Annotated[
        list[str] | None, typer.Option("--not", metavar="X,Y", help="A point outside the object; repeatable.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object: top left, bottom right.")
    ] = None,
    object_: Annotated[
        list[str] | None,
        typer.Option(
            "--object",
            metavar="TEXT",
            help="A whole object, for several of them: points, `not` before a point outside it, a box. Repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help=f"Picture to draw; default NAME{SEGMENTS}, here.")
    ] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE.json", help="Write the result, as `export` and `stats` read it."),
    ] = None,
    crop: Crop = None,
    ignore_bottom: IgnoreBottom = None,
    um_per_px: UmPerPx = None,
    scale: ScaleMode = None,
    bar_um: BarUm = None,
    label: Label = None,
    prompt_model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Model to ask; default GRAINSERVE_PROMPT_MODEL, else GRAINSERVE_MODEL-prompt."
        ),
    ] = None,
) -> None:
    """Measure the objects that you point at, and draw them. Asks TorchServe directly; nothing is stored.

    --point, --not and --box together describe one object; of its masks the best is taken.
    In the picture, points in the object are green, points outside it red, and boxes white.
    """
    with reported():
        objects = [_object(each) for each in object_ or ()]
        if point or not_ or box:
            objects.insert(
                0, _prompt([(each, True) for each in point or ()] + [(each, False) for each in not_ or ()], box)
            )
        if not objects:
            raise InvalidOption("nothing is pointed at: give --point X,Y, --box X0,Y0,X1,Y1 or --object")
        read = ImageFile(image)
        options = with_scale(read, given_options(ctx.params), scale, bar_um)
        torchserve = TorchServe(config.setting(None, config.TORCHSERVE), None)
        model = config.prompt_model(prompt_model, config.setting(None, config.MODEL))
        asked = PromptedImage(torchserve, model, read, options)
        result = asked.result(best_masks([asked.ask(objects)]))
        _print(result, str(image))
        drawn = out or Path(f"{image.stem}{SEGMENTS}")
        windows = dict(zip((grain.id for grain in result.grains), result.windows, strict=True))
        found = [windows[answer[0].id] if answer else None for answer in result.answers]
        draw_prompts(read.picture.pixels, list(zip(objects, found, strict=True)), result.um_per_px).save(drawn, "PNG")
        console.print(f"the picture is {escape(visible(str(drawn)))}", soft_wrap=True)
        if json_ is not None:
            result.to_json(json_)
            console.print(f"the result is {escape(visible(str(json_)))}", soft_wrap=True)


def _object(text: str) -> Prompt:
    """Reads an object such as `120,80 not 200,90 40,30,95,71`: a point in it, a point outside it, a box.

    Raises:
        InvalidOption: a word is none of these.
    """
    points: list[tuple[str, bool]] = []
    box: str | None = None
    inside = True
    for word in text.split():
        if word == OUTSIDE and inside:
            inside = False
        elif word.count(",") == 3 and inside and box is None:
            box = word
        else:
            points.append((word, inside))
            inside = True
    if not inside or not (points or box):
        raise InvalidOption(f"--object is {text!r}; it must be points and a box, such as '120,80 not 200,90'")
    return _prompt(points, box)


def _prompt(points: list[tuple[str, bool]], box: str | None) -> Prompt:
    """Makes a prompt of points, each with whether it lies in the object, and a box, if any."""
    prompt: Prompt = {}
    if points:
        prompt["points"] = [_numbers(text, 2, "a point X,Y") for text, _ in points]
        prompt["labels"] = [int(inside) for _, inside in points]
    if box:
        prompt["box"] = _numbers(box, 4, "a box X0,Y0,X1,Y1")
    return prompt


def _numbers(text: str, count: int, what: str) -> list[float]:
    try:
        found = [number(each) for each in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise InvalidOption(f"{text!r} is not {what}, in px")
    return found


def _print(result: Result, name: str) -> None:
    """Prints the measurements of each object's best mask, with SAM's own scores."""
    metadata = result.metadata
    by = visible(f"{metadata['model']} {metadata['version']}")
    count = len(result.answers)
    console.print(
        f"[bold]{escape(name)}[/]: {count} object{'' if count == 1 else 's'}, {escape(by)}, "
        f"{float(metadata['processTime']):.2f} s",
        soft_wrap=True,
    )
    if result.um_per_px is not None:
        source = result.scale_source or "given"
        console.print(f"scale {result.um_per_px:.5g} µm per px ({escape(visible(source))})", soft_wrap=True)
    for warning in metadata["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(visible(str(warning)))}", soft_wrap=True)
    columns = measured_columns(result)
    table = table_of_numbers("object", *columns, "predicted IoU", "stability")
    frame = result.to_dataframe()
    rows = dict(zip(frame["id"], frame[list(columns.values())].itertuples(index=False), strict=True))
    for index, answer in enumerate(result.answers, start=1):
        if answer:
            best = answer[0]
            scores = (each for each in (best.predicted_iou, best.stability_score) if each is not None)
            table.add_row(str(index), *(number_text(value) for value in (*rows[best.id], *scores)))
        else:
            table.add_row(str(index), "nothing found")
    console.print(table)


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve segment sand.png --point 120,80 --not 200,90 --um-per-px 2.5\n\n"
        "grainserve segment sand.png --box 40,30,95,71 --out grain.png\n\n"
        "grainserve segment sand.png --object '120,80 not 200,90' --object 40,30,95,71 --json grains.json"
    )(segment)
