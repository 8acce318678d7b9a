"""Prints results on the terminal and writes their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grainserve.cli.terminal import console
from grainserve.errors import NoGrains
from grainserve.escaping import visible
from grainserve.exports.formats import FORMATS, USUAL, FormatName
from grainserve.exports.table import CsvDialect
from grainserve.result import Result
from grainserve.results import rounding
from grainserve.results.edge_correction import said_of

SHOWN = 8
SUMMARY_PERCENTS = (10, 50, 90)


def unique_names(images: Sequence[Path]) -> list[str]:
    """Returns a name for each image's files: the image's stem, with a number behind it if the stem is taken."""
    names: list[str] = []
    for image in images:
        name, number = image.stem, 2
        while name in names:
            name, number = f"{image.stem}_{number}", number + 1
        names.append(name)
    return names


def write_files(
    result: Result,
    out: Path,
    name: str,
    image: Path | None,
    to: Sequence[FormatName] | None = None,
    *,
    csv_dialect: str = CsvDialect.EXCEL,
    edge_correction: bool = True,
) -> list[Path]:
    """Writes a result's files: NAME.csv, NAME_overlay.png, …

    Args:
        result: result to write.
        out: existing folder for the files.
        name: NAME in the files' names.
        image: image file; None: the image is fetched from the bucket.
        to: formats to write; None: the usual ones, except those that need masks if the result has none.
        csv_dialect: dialect of CSV files.
        edge_correction: whether sizes and statistics are corrected for the frame.

    Returns:
        The files written.

    Raises:
        MasksMissing: a format in `to` needs masks, and the result has none.
    """
    chosen = list(to or USUAL)
    if not to and not result.has_masks:
        chosen = [each for each in chosen if not FORMATS[each].needs_masks]
        console.print("no overlay: mask_format is none")
    files = [out / f"{name}{FORMATS[each].ending}" for each in chosen]  # not with_suffix: names may hold dots
    for each, file in zip(chosen, files, strict=True):
        result.export(file, each, image, csv_dialect, edge_correction=edge_correction)
    return files


def print_result(
    result: Result,
    name: str,
    console: Console = console,
    percentiles: Sequence[float] = SUMMARY_PERCENTS,
    *,
    edge_correction: bool = True,
) -> None:
    """Prints the summary of a result and its first grains.

    Args:
        result: result to print.
        name: name of its image.
        console: terminal to print on.
        percentiles: percentiles of the summary, 0 to 100.
        edge_correction: whether sizes are corrected for the frame.
    """
    unit = result.size_unit
    count = len(result.grains)
    edge = sum(grain.touches_edge for grain in result.grains)
    seconds = float(result.metadata["processTime"])
    by = visible(f"{result.metadata['model']} {result.metadata['version']}")
    console.print(
        f"[bold]{escape(name)}[/]: {count} grain{'' if count == 1 else 's'}, {edge} at the frame, "
        f"{escape(by)}, {seconds:.1f} s, image id {result.image_id}",
        soft_wrap=True,
    )
    if tiles := result.metadata.get("tiles"):
        known = tiles["agreement"] is not None
        agreed = f"; they agree on {tiles['agreement']:.0%} of the grains that several see whole" if known else ""
        console.print(f"{tiles['count']} tiles that overlap by {tiles['overlap']} px or more{agreed}", soft_wrap=True)
    if result.um_per_px is not None:
        source = result.scale_source or "given"
        console.print(f"scale {result.um_per_px:.5g} µm per px ({escape(visible(source))})", soft_wrap=True)
    if "classifier" in result.metadata:
        console.print(class_counts(result), soft_wrap=True, markup=False)
    for warning in result.metadata["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(visible(str(warning)))}", soft_wrap=True)
    if not count:
        return
    used = int(np.count_nonzero(result.stands_for(edge_correction=edge_correction)))
    if used:
        console.print(_summary(result, unit, percentiles, edge_correction))
        console.print(said_of(used, edge, edge_correction=edge_correction), soft_wrap=True)
    else:
        console.print(f"[yellow]warning:[/] {escape(visible(str(NoGrains(name, count))))}", soft_wrap=True)
    console.print(_first_grains(result))


def class_counts(result: Result) -> str:
    """Returns the number of grains of each class, as one line."""
    counts = Counter(grain.label for grain in result.grains)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _summary(result: Result, unit: str, percentiles: Sequence[float], edge_correction: bool) -> Table:
    names = (f"D{percent:g}" for percent in percentiles)
    table = Table("equivalent diameter", *names, "mean", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    summary = result.statistics(edge_correction=edge_correction, percentiles=percentiles, resamples=0)
    for each in (summary.number, summary.area):
        values = (*each.percentiles.values(), each.mean)
        table.add_row(f"{each.weighting}-weighted ({unit})", *(rounding.number_text(found.value) for found in values))
    suffix = "" if result.um_per_px is None else "_um"
    frame, counts = result.to_dataframe(), result.stands_for(edge_correction=edge_correction)
    axes = [
        rounding.number_text(_mean(frame[f"{axis}AxisLength{suffix}"].to_numpy(), counts))
        for axis in ("major", "minor")
    ]
    table.caption = f"mean axes {axes[0]} × {axes[1]} {unit}"
    table.caption_justify = "left"
    return table


def _mean(values: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    known = np.isfinite(values) & (counts > 0)
    return float(np.average(values[known], weights=counts[known])) if known.any() else np.nan


def measured_columns(result: Result) -> dict[str, str]:
    """Returns the titles of a table of grains, each with the column of `Result.to_dataframe` that it shows."""
    unit = result.size_unit
    suffix, square = ("", "") if result.um_per_px is None else ("_um", "_um2")
    return {
        f"area ({unit}²)": f"area{square}",
        f"diameter ({unit})": f"equivalentDiameter{suffix}",
        f"major ({unit})": f"majorAxisLength{suffix}",
        f"minor ({unit})": f"minorAxisLength{suffix}",
        "angle (°)": "orientationFromX",
    }


def table_of_numbers(*titles: str) -> Table:
    """Returns an empty table whose columns are numbers."""
    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.justify = "right"
    return table


def _first_grains(result: Result) -> Table:
    columns = {"id": "id", **measured_columns(result), "score": "score"}
    table = table_of_numbers(*columns)
    frame = result.to_dataframe()[list(columns.values())]
    for row in frame.head(SHOWN).itertuples(index=False):
        table.add_row(*(number_text(value) for value in row))
    if len(frame) > SHOWN:
        table.caption = f"and {len(frame) - SHOWN} more"
        table.caption_justify = "left"
    return table


def number_text(value: float) -> str:
    """Returns a number with the digits that a table shows; NaN is empty."""
    if isinstance(value, int | np.integer):
        return str(value)
    return "" if np.isnan(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
