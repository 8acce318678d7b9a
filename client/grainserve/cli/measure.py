"""The commands `grainserve submit`, `poll`, `wait` and `analyze`: images are measured by jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from grainserve.cli.export import Dialect, To
from grainserve.cli.image_files import gather
from grainserve.cli.output import SUMMARY_PERCENTS, print_result, unique_names, write_files
from grainserve.cli.references import Readable, submit_all
from grainserve.cli.request_options import (
    BoxNms,
    Crop,
    CropLayers,
    CropSource,
    Fill,
    FindDatabar,
    IgnoreBottom,
    Label,
    MaskFormat,
    MaxAreaFraction,
    MinArea,
    MinMaskRegionArea,
    Mode,
    Points,
    PointsPerBatch,
    PointsPerSide,
    PredIou,
    ScaleSource,
    Stability,
    UmPerPx,
    given_options,
)
from grainserve.cli.scale import BarUm, ScaleMode
from grainserve.cli.stats_options import EdgeCorrection, percents
from grainserve.cli.terminal import FAILURE, console, errors, reported, say_error
from grainserve.client import Client
from grainserve.errors import GrainserveError, InvalidOption, StorageError
from grainserve.escaping import visible
from grainserve.exports.formats import FORMATS
from grainserve.exports.table import CsvDialect
from grainserve.images import check_image, image_bytes
from grainserve.result import Result
from grainserve.stats.summary import checked_percents
from grainserve.storage.bucket import check_emulator
from grainserve.storage.uris import is_uri
from grainserve.submission import Submission
from grainserve.tiles.layout import LARGEST_GRAIN

app = typer.Typer()

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Image files, up to 1024 px on the longer side; folders; or objects of readable buckets, with wildcards: "
        "'gs://BUCKET/FOLDER/*.tif'.",
    ),
]
AnyImages = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="Image files, or folders of them; over 1024 px they go in tiles.")
]
LargestGrain = Annotated[
    int,
    typer.Option(help="Largest expected extent of a grain, px. Tiles of large images overlap by twice as much."),
]
ImageId = Annotated[str, typer.Argument(metavar="ID", help="Image id that `submit` printed.")]
Model = Annotated[str | None, typer.Option(help="Model name; default GRAINSERVE_MODEL, else sam_tiny.")]
Version = Annotated[str | None, typer.Option(help="Model version; default TorchServe's default version.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds to wait for each image; default: no limit.")]
Out = Annotated[Path | None, typer.Option(help="Folder for NAME.json, NAME.csv, …; --to chooses which.")]


@app.command(
    epilog="Examples:\n\ngrainserve submit sand.png gravel.jpg --um-per-px 2.5\n\n"
    "grainserve submit 'gs://scans/2026/*.tif' --readable scans\n\n"
    "Then:  grainserve wait ID --out results, or poll ID where a dispatcher runs elsewhere."
)
def submit(
    ctx: typer.Context,
    images: Images,
    *,
    crop: Crop = None,
    ignore_bottom: IgnoreBottom = None,
    crop_source: CropSource = None,
    find_databar: FindDatabar = False,
    um_per_px: UmPerPx = None,
    scale_source: ScaleSource = None,
    scale: ScaleMode = None,
    bar_um: BarUm = None,
    points: Points = None,
    points_per_side: PointsPerSide = None,
    points_per_batch: PointsPerBatch = None,
    pred_iou_thresh: PredIou = None,
    stability_score_thresh: Stability = None,
    box_nms_thresh: BoxNms = None,
    crop_n_layers: CropLayers = None,
    min_mask_region_area: MinMaskRegionArea = None,
    min_area: MinArea = None,
    max_area_fraction: MaxAreaFraction = None,
    mode: Mode = None,
    fill: Fill = None,
    mask_format: MaskFormat = None,
    label: Label = None,
    model: Model = None,
    version: Version = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key",
            metavar="KEY",
            help="Your own name for this submission. A second submission with the same name makes no second job.",
        ),
    ] = None,
    readable: Readable = None,
) -> None:
    """Store images and their jobs; print one image id a line. Does not wait and works on no jobs itself.

    Objects of a bucket are not downloaded: GCS copies them, after a look at their headers. Each is accepted or refused
    on its own; the exit code is 1 if any was refused. The same command again makes no second job for an object that
    has not changed, so a submission that was stopped goes on. It begins anew the jobs that failed or were cancelled.
    """
    with reported(
        "stopped; what was printed stays submitted: `grainserve jobs cancel ID` takes it back; with objects of a "
        "bucket, the same command goes on"
    ):
        options = given_options(ctx.params)
        check_emulator()
        uris = [image for image in images if is_uri(image)]
        inputs = gather(Path(image) for image in images if not is_uri(image))
        for image in inputs.images:
            check_image(image_bytes(image)[0])  # before anything is submitted: one bad file stops all
        with Client(model=model, version=version, dispatch=False, readable=readable) as client:
            references = [each for uri in dict.fromkeys(uris) for each in client.references.matching(uri)]
            for image in inputs.images:
                # Each image of a submission needs a key of its own.
                image_id = client.submit(
                    image,
                    idempotency_key=key and f"{key}/{image}",
                    scale=scale,
                    bar_um=bar_um,
                    find_databar=find_databar,
                    **options,
                )
                typer.echo(f"{image_id}  {image}" if len(inputs.images) > 1 or references else image_id)
            refused = submit_all(
                references,
                lambda each: client.submit(
                    each,
                    idempotency_key=key and f"{key}/{each.uri}",
                    scale=scale,
                    bar_um=bar_um,
                    find_databar=find_databar,
                    **options,
                ),
                bare=len(images) == len(references) == 1 and references[0].uri == images[0],
            )
        inputs.say_passed_over()
    if refused:
        raise typer.Exit(FAILURE)


@app.command(epilog="Example:  grainserve poll 0f4c…  (exit code 0 done, 3 not yet, 1 failed)")
def poll(
    image_id: ImageId,
    *,
    out: Out = None,
    to: To = None,
    csv_dialect: Dialect = CsvDialect.EXCEL,
    edge_correction: EdgeCorrection = True,
) -> None:
    """Print a job's result, or its state if it is not done. Works on no jobs itself."""
    with reported(), Client(dispatch=False) as client:
        _check_files(to, out)
        result = client.poll(image_id)
        if result is None:
            typer.echo(client.state(image_id).value)
            raise typer.Exit(3)
        _deliver(result, image_id, out, to, csv_dialect=csv_dialect, edge_correction=edge_correction)


@app.command(epilog="Example:  grainserve wait 0f4c… --out results --timeout 600")
def wait(
    image_id: ImageId,
    *,
    out: Out = None,
    to: To = None,
    csv_dialect: Dialect = CsvDialect.EXCEL,
    edge_correction: EdgeCorrection = True,
    timeout: Timeout = None,
) -> None:
    """Wait for a result and print it. Works on pending jobs meanwhile."""
    with reported("stopped; the job stays in the queue: `grainserve jobs` lists it"), Client() as client:
        _check_files(to, out)
        result = _wait_with_bar(client, image_id, timeout)
        _deliver(result, image_id, out, to, csv_dialect=csv_dialect, edge_correction=edge_correction)


@app.command(
    epilog="Examples:\n\n"
    "grainserve analyze sand.png --out results --um-per-px 2.5\n\n"
    "grainserve analyze scans/*.tif --out results --points-per-side 64 --min-area 50\n\n"
    "grainserve analyze scans --scale file --find-databar\n\n"
    "grainserve analyze mosaic.tif --largest-grain 200"
)
def analyze(
    ctx: typer.Context,
    images: AnyImages,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the files of each image.")] = Path("grainserve-results"),
    to: To = None,
    csv_dialect: Dialect = CsvDialect.EXCEL,
    crop: Crop = None,
    ignore_bottom: IgnoreBottom = None,
    crop_source: CropSource = None,
    find_databar: FindDatabar = False,
    um_per_px: UmPerPx = None,
    scale_source: ScaleSource = None,
    scale: ScaleMode = None,
    bar_um: BarUm = None,
    points: Points = None,
    points_per_side: PointsPerSide = None,
    points_per_batch: PointsPerBatch = None,
    pred_iou_thresh: PredIou = None,
    stability_score_thresh: Stability = None,
    box_nms_thresh: BoxNms = None,
    crop_n_layers: CropLayers = None,
    min_mask_region_area: MinMaskRegionArea = None,
    min_area: MinArea = None,
    max_area_fraction: MaxAreaFraction = None,
    mode: Mode = None,
    fill: Fill = None,
    mask_format: MaskFormat = None,
    label: Label = None,
    model: Model = None,
    version: Version = None,
    largest_grain: LargestGrain = LARGEST_GRAIN,
    percentiles: Annotated[
        str | None,
        typer.Option(metavar="P,P,…", help="Percentiles of the table printed, such as 10,30,50; default 10,50,90."),
    ] = None,
    edge_correction: EdgeCorrection = True,
    timeout: Timeout = None,
) -> None:
    """Measure images: submit, wait, print a table, write files.

    Writes for each image NAME: NAME.json (the result), NAME.csv (a row a grain), NAME_overlay.png (outlines on the
    image) and NAME_sizes.png (grain sizes), or the formats that --to names. A refused image does not stop the others.
    An image over 1024 px is measured in tiles; after a stop, the same command goes on with the missing tiles. Ctrl-C
    withdraws the jobs that are not done (`grainserve jobs` lists unfinished jobs).
    """
    with reported(
        "stopped; unfinished jobs were withdrawn, tiles of large images that are done are not measured again"
    ):
        options = given_options(ctx.params)
        _check_files(to, out)
        told = SUMMARY_PERCENTS if percentiles is None else checked_percents(percents(percentiles))
        if mask_format == "none" and (drawn := [name for name in to or () if FORMATS[name].needs_masks]):
            raise InvalidOption(f"--to {', '.join(drawn)} is made of masks, and --mask-format none asks for none")
        inputs = gather(images)
        out.mkdir(parents=True, exist_ok=True)
        with Client(model=model, version=version) as client:
            options |= {"largest_grain": largest_grain, "find_databar": find_databar, "scale": scale, "bar_um": bar_um}
            options |= {"timeout": timeout}
            failed = _analyze_each(
                client,
                inputs.images,
                out,
                to=to,
                csv_dialect=csv_dialect,
                percentiles=told,
                edge_correction=edge_correction,
                timeout=timeout,
                options=options,
            )
        inputs.say_passed_over()
    if failed:
        errors.print(f"{len(failed)} of {len(inputs.images)} images failed: {escape(', '.join(map(str, failed)))}")
        raise typer.Exit(FAILURE)


def _analyze_each(
    client: Client,
    images: list[Path],
    out: Path,
    *,
    to: To,
    csv_dialect: CsvDialect,
    percentiles: Sequence[float],
    edge_correction: bool,
    timeout: float | None,
    options: dict[str, Any],
) -> list[Path]:
    """Submits all images, then waits for each result; returns the images that failed."""
    check_emulator()
    client.check()
    names = unique_names(images)
    failed: list[Path] = []
    begun: list[tuple[Path, str, Submission]] = []
    with _bar() as progress:
        task = progress.add_task("submitting", total=len(images), note="")
        for image, name in zip(images, names, strict=True):
            try:
                begun.append((image, name, client.begin(image, **options)))
            except InvalidOption:
                raise
            except StorageError as error:
                if not begun:
                    raise  # storage is away: every other image would wait as long, and in vain
                failed.append(image)
                say_error(error, str(image))
            except GrainserveError as error:
                failed.append(image)
                say_error(error, str(image))
            progress.advance(task)
        progress.reset(task, total=sum(len(each.image_ids) for *_, each in begun), description="measuring")
        ended = 0
        for image, name, submission in begun:
            try:
                result = client.finish(
                    submission,
                    timeout,
                    lambda _, problem: _note(progress, task, problem),
                    lambda *_: progress.advance(task),
                )
                write_files(result, out, name, image, to, csv_dialect=csv_dialect, edge_correction=edge_correction)
                print_result(result, str(image), progress.console, percentiles, edge_correction=edge_correction)
            except GrainserveError as error:
                failed.append(image)
                say_error(error, str(image))
            ended += len(submission.image_ids)
            progress.update(task, completed=ended)
    if len(failed) < len(images):
        console.print(f"files are in {escape(str(out))}")
    return failed


def _bar() -> Progress:
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    note = TextColumn("[yellow]{task.fields[note]}")
    return Progress(*columns, note, console=console, transient=True, disable=not console.is_terminal)


def _note(progress: Progress, task: TaskID, problem: GrainserveError | None) -> None:
    """Shows beside the bar why the job does not go on; None clears the note."""
    progress.update(task, note=escape(visible(str(problem))) if problem else "")


def _wait_with_bar(client: Client, image_id: str, timeout: float | None) -> Result:
    with _bar() as progress:
        task = progress.add_task("measuring", total=1, note="")
        return client.wait(image_id, timeout, lambda _, problem: _note(progress, task, problem))


def _check_files(to: To, out: Path | None) -> None:
    """Checks, before any image is sent, that the files can be written.

    Raises:
        InvalidOption: formats are named, but no folder.
        ExtraMissing: a format needs a library that is not installed.
    """
    if to and out is None:
        raise InvalidOption("--to names files to write: give --out, a folder for them")
    for name in to or ():
        FORMATS[name].check_library()


def _deliver(
    result: Result, image_id: str, out: Path | None, to: To, *, csv_dialect: CsvDialect, edge_correction: bool
) -> None:
    """Prints a result and writes its files, named by the id that was asked for: the id in a result may be forged."""
    print_result(result, image_id, edge_correction=edge_correction)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for path in write_files(
            result, out, image_id, None, to, csv_dialect=csv_dialect, edge_correction=edge_correction
        ):
            typer.echo(path)


def add_to(command_line: typer.Typer) -> None:
    """Adds these commands to the command line."""
    command_line.add_typer(app)
