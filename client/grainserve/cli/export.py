"""The command `grainserve export`: writes existing results as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grainserve import config
from grainserve.cli.output import unique_names, write_files
from grainserve.cli.result_files import ResultFiles, results_in
from grainserve.cli.stats_options import EdgeCorrection
from grainserve.cli.terminal import reported
from grainserve.errors import InvalidImage
from grainserve.exports.formats import FORMATS, FormatName, write_together
from grainserve.exports.table import CsvDialect
from grainserve.images import image_of
from grainserve.jobs.store import JobStore
from grainserve.large_images import fetched
from grainserve.result import Result
from grainserve.storage.bucket import Bucket

TOGETHER = "grains"
"""Name of a file that holds several results, without its ending."""

To = Annotated[
    list[FormatName] | None,
    typer.Option("--to", help="Format to write; may be repeated; default json, csv, sizes and overlay."),
]

Dialect = Annotated[
    CsvDialect,
    typer.Option(
        "--csv-dialect",
        help="Dialect of CSV: excel (comma, decimal point), excel-eu (semicolon, decimal comma), or raw (as excel, but "
        "without an apostrophe in front of texts that a spreadsheet takes for formulas).",
    ),
]


def export(
    results: ResultFiles,
    *,
    to: Annotated[list[FormatName], typer.Option("--to", help="Format to write; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("grainserve-results"),
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the images; default: overlays fetch them from the bucket."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="All results in one file: grains.csv, .parquet, _coco.json.")
    ] = False,
    csv_dialect: Dialect = CsvDialect.EXCEL,
    edge_correction: EdgeCorrection = True,
) -> None:
    """Write results as files for other programs; docs/exports.md says which program reads which format.

    Tables: csv, parquet, wadell (roundness of corners).

    Outlines: geojson (px, y down), geojson-map (y up; µm where there is a scale), qupath, roi (ImageJ).

    Masks: coco, labels (OME-TIFF). Pictures: overlay, sizes. --edge-correction is for sizes and statistics.
    """
    with reported():
        for each in to:
            FORMATS[each].check_library()
        files = results_in(results)
        read = [_read(path) for path in files]
        pictures = [_image_of(path, images) for path in files]
        names = unique_names(files)
        out.mkdir(parents=True, exist_ok=True)
        if together:
            shown = [image.name if image else name for image, name in zip(pictures, names, strict=True)]
            written = [_write_together(read, shown, each, out, csv_dialect) for each in to]
        else:
            each_result = zip(read, names, pictures, strict=True)
            written = [
                file
                for one, name, image in each_result
                for file in write_files(
                    one, out, name, image, to, csv_dialect=csv_dialect, edge_correction=edge_correction
                )
            ]
        for file in written:
            typer.echo(file)


def _read(path: Path) -> Result:
    """Reads a result; its image is fetched from the bucket when it is needed."""
    read = Result.from_json(path)
    return Result(read.to_dict(), lambda: fetched(JobStore(Bucket(config.setting(None, config.BUCKET))), read.metadata))


def _image_of(result: Path, folder: Path | None) -> Path | None:
    """Returns the image in the folder that has the result's name; None without a folder.

    Raises:
        InvalidImage: the folder holds no such image, or several.
    """
    found = None if folder is None else image_of(result, folder)
    if folder is not None and found is None:
        raise InvalidImage(f"{folder} has no image named {result.stem}: put it there, or leave --images out")
    return found


def _write_together(
    results: list[Result], names: list[str], form: FormatName, out: Path, csv_dialect: CsvDialect
) -> Path:
    path = out / f"{TOGETHER}{FORMATS[form].ending}"
    write_together(results, names, path, form, csv_dialect)
    return path


def add_to(app: typer.Typer) -> None:
    """Adds this command to the command line."""
    app.command(
        epilog="Examples:\n\n"
        "grainserve export results/sand.json --to geojson --to roi --out sand\n\n"
        "grainserve export results/*.json --to csv --csv-dialect excel-eu --together\n\n"
        "grainserve export results/*.json --to parquet --to coco --together --images scans --out pooled"
    )(export)
