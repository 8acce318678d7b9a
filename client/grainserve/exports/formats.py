"""The table of all file formats that a result can be written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from grainserve.errors import ExtraMissing, InvalidOption
from grainserve.exports import coco, geojson, labels, rois, table
from grainserve.images import ImageSource

if TYPE_CHECKING:
    from grainserve.results.data import ResultData


class FormatName(StrEnum):
    """Names of the formats, on the command line and in requests."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    WADELL = "wadell"
    GEOJSON = "geojson"
    GEOJSON_MAP = "geojson-map"
    QUPATH = "qupath"
    COCO = "coco"
    LABELS = "labels"
    ROI = "roi"
    OVERLAY = "overlay"
    SIZES = "sizes"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class Choices:
    """Choices that only some formats use.

    Attributes:
        image: image of the result, for overlays and for the file name in COCO's JSON; None where it is not at hand.
        csv_dialect: dialect of CSV, a `CsvDialect`.
        edge_correction: whether sizes and statistics are corrected for the frame.
    """

    image: ImageSource | None = None
    csv_dialect: str = table.CsvDialect.EXCEL
    edge_correction: bool = True


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        ending: ending of the files' names, after the name of the image.
        media_type: content type.
        write: function that writes a result to a path.
        write_together: function that writes several results, with the names of their images, into one file; None where
            the format has no such file.
        needs_masks: whether only results with masks can be written.
        library: library of the extra `exports` that the format needs.
    """

    ending: str
    media_type: str
    write: Callable[[ResultData, Path, Choices], None]
    write_together: Callable[[Sequence[ResultData], Sequence[str], Path], None] | None = None
    needs_masks: bool = False
    library: str | None = None

    def check_library(self) -> None:
        """Checks that the format's library is installed, so that callers fail before any work.

        Raises:
            ExtraMissing: the library is not installed.
        """
        if self.library and find_spec(self.library) is None:
            raise ExtraMissing(self.library, "exports")


FORMATS: dict[FormatName, Format] = {
    FormatName.JSON: Format(".json", "application/json", lambda result, path, _: result.to_json(path)),
    FormatName.CSV: Format(
        ".csv",
        "text/csv; charset=utf-8",
        lambda result, path, chosen: table.write_csv(result.to_dataframe(), path, chosen.csv_dialect),
        write_together=table.write_pooled_csv,
    ),
    FormatName.PARQUET: Format(
        ".parquet",
        "application/vnd.apache.parquet",
        lambda result, path, _: table.write_parquet(result, path),
        write_together=table.write_pooled_parquet,
        library="pyarrow",
    ),
    FormatName.WADELL: Format(
        "_wadell.csv",
        "text/csv; charset=utf-8",
        lambda result, path, chosen: table.write_csv(result.wadell(), path, chosen.csv_dialect),
        needs_masks=True,
    ),
    FormatName.GEOJSON: Format(
        ".geojson",
        "application/geo+json",
        lambda result, path, _: geojson.write_geojson(result, path),
        needs_masks=True,
    ),
    FormatName.GEOJSON_MAP: Format(
        "_map.geojson",
        "application/geo+json",
        lambda result, path, _: geojson.write_map(result, path),
        needs_masks=True,
    ),
    FormatName.QUPATH: Format(
        "_qupath.geojson",
        "application/geo+json",
        lambda result, path, _: geojson.write_qupath(result, path),
        needs_masks=True,
    ),
    FormatName.COCO: Format(
        "_coco.json",
        "application/json",
        lambda result, path, chosen: coco.write_coco([result], [_image_name(result, chosen.image)], path),
        write_together=coco.write_coco,
        needs_masks=True,
    ),
    FormatName.LABELS: Format(
        "_labels.ome.tif",
        "image/tiff",
        lambda result, path, _: labels.write_labels(result, path),
        needs_masks=True,
    ),
    FormatName.ROI: Format(
        "_rois.zip",
        "application/zip",
        lambda result, path, _: rois.write_rois(result, path),
        needs_masks=True,
    ),
    FormatName.OVERLAY: Format(
        "_overlay.png",
        "image/png",
        lambda result, path, chosen: result.overlay(path, chosen.image),
        needs_masks=True,
    ),
    FormatName.SIZES: Format(
        "_sizes.png",
        "image/png",
        lambda result, path, chosen: result.histogram(path, edge_correction=chosen.edge_correction),
    ),
    FormatName.STATISTICS: Format(
        "_statistics.json",
        "application/json",
        lambda result, path, chosen: _write_statistics(result, path, chosen.edge_correction),
    ),
}

USUAL = (FormatName.JSON, FormatName.CSV, FormatName.SIZES, FormatName.OVERLAY)
"""Formats that the command line writes by default."""


def write(
    result: ResultData,
    path: str | PathLike[str],
    name: str | None = None,
    choices: Choices = Choices(),
) -> None:
    """Writes a result as one kind of file.

    Args:
        result: result to write.
        path: file to write.
        name: name of the format, a `FormatName`; None takes the format that the path's ending names.
        choices: what only some formats ask.

    Raises:
        InvalidOption: the format or dialect is unknown, or the ending does not name one format.
        ExtraMissing: the format's library is not installed.
        MasksMissing: the format needs masks, and the result has none.
        NoGrains: the format is statistics, and the result has no grain that sizes can be taken from.
    """
    if name is None:
        name = format_of(path)
    elif name not in FORMATS:
        raise InvalidOption(f"unknown format {name!r}: there are {', '.join(FORMATS)}")
    form = FORMATS[FormatName(name)]
    form.check_library()
    form.write(result, Path(path), choices)


def write_together(
    results: Sequence[ResultData], names: Sequence[str], path: Path, name: FormatName, csv_dialect: str
) -> None:
    """Writes several results into one file.

    Args:
        results: n results.
        names: n names of their images.
        path: file to write.
        name: format.
        csv_dialect: dialect of CSV, a `CsvDialect`.

    Raises:
        InvalidOption: the format makes a file for each result, or the dialect is unknown.
    """
    if name == FormatName.CSV:
        table.write_pooled_csv(results, names, path, csv_dialect)
    elif together := FORMATS[name].write_together:
        together(results, names, path)
    else:
        able = ", ".join(each for each, form in FORMATS.items() if form.write_together)
        raise InvalidOption(f"{name} makes a file for each result: --together is for {able}")


def format_of(path: str | PathLike[str]) -> FormatName:
    """Returns the format that a file's name implies: coco for `x_coco.json`, json for `x.json`, labels for `x.tif`.

    Raises:
        InvalidOption: no format has this ending, or several have.
    """
    file = Path(path).name.lower()
    exact = [name for name, form in FORMATS.items() if file.endswith(form.ending)]
    if exact:
        return max(exact, key=lambda name: len(FORMATS[name].ending))
    alike = [name for name, form in FORMATS.items() if Path(f"x{form.ending}").suffix == Path(file).suffix]
    if len(alike) == 1:
        return alike[0]
    which = f"may be {' or '.join(alike)}" if alike else "is of no known kind"
    raise InvalidOption(f"{Path(path).name} {which}: give format=, one of {', '.join(FORMATS)}")


def _image_name(result: ResultData, image: ImageSource | None) -> str:
    return Path(image).name if isinstance(image, str | PathLike) else result.image_id


def _write_statistics(result: ResultData, path: Path, edge_correction: bool) -> None:
    from grainserve.stats import Sample, summarise  # noqa: PLC0415 - half a second that no other format needs

    summarise(Sample.of([result]), edge_correction=edge_correction).to_json(path)
