"""Writes the table of grains, of one result or several, as CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from grainserve.contract import schema
from grainserve.errors import InvalidOption
from grainserve.exports.formulas import neutralised

if TYPE_CHECKING:
    import pandas as pd

    from grainserve.results.data import ResultData


class CsvDialect(StrEnum):
    """Dialects of CSV. The first two are named after the Excel that opens them with a double click."""

    EXCEL = "excel"
    """A comma between columns and a decimal point, as most programs expect."""
    EXCEL_EU = "excel-eu"
    """A semicolon between columns and a decimal comma, as Excel expects where the comma is the decimal sign."""
    RAW = "raw"
    """`excel` with unchanged texts, for programs: a spreadsheet would run a text that starts with = as a formula."""


ANGLES = {"orientation", "orientationFromX", "feretAngle"}
PLACES = {"boundingBox", "centroid"}


def unit(column: str) -> str | None:
    """Returns the unit of a column: px, px², µm, µm² or degree; None without a unit."""
    # `_um` may stand in front of the axis: centroid_um_x.
    name, *parts = column.split("_")
    if "um" in parts:
        return "µm"
    if "um2" in parts:
        return "µm²"
    properties = schema("result")["$defs"]["properties"]["properties"]
    if f"{column}_um2" in properties:
        return "px²"
    if f"{column}_um" in properties or name in PLACES:
        return "px"
    return "degree" if column in ANGLES else None


def pooled(results: Sequence[ResultData], names: Sequence[str]) -> pd.DataFrame:
    """Joins the tables of several results, with the columns `image` (the image's name) and `imageId` in front.

    Where only some results have a scale, the columns in µm are empty for the others.

    Args:
        results: n results.
        names: n names of their images.
    """
    import pandas as pd  # noqa: PLC0415

    frames = []
    for result, name in zip(results, names, strict=True):
        frame = result.to_dataframe()
        frame.insert(0, "image", pd.Series(name, frame.index, dtype="str"))
        frame.insert(1, "imageId", pd.Series(result.image_id, frame.index, dtype="str"))
        frames.append(frame)
    widest = max(frames, key=lambda frame: frame.shape[1])
    return pd.concat(frames, ignore_index=True)[widest.columns.tolist()]


def write_csv(frame: pd.DataFrame, path: str | PathLike[str], dialect: str = CsvDialect.EXCEL) -> None:
    """Writes a table as CSV in UTF-8. Null becomes an empty field, and texts that could be formulas are neutralised.

    Args:
        frame: table.
        path: file to write.
        dialect: a `CsvDialect`; `raw` keeps texts unchanged.

    Raises:
        InvalidOption: the dialect is unknown.
    """
    if dialect not in list(CsvDialect):
        raise InvalidOption(f"unknown dialect of CSV {dialect!r}: there are {', '.join(CsvDialect)}")
    if dialect != CsvDialect.RAW:
        frame = frame.assign(**{str(name): frame[name].map(_safe) for name in frame.select_dtypes(["str", "object"])})
    if dialect == CsvDialect.EXCEL_EU:
        # Excel reads a file as UTF-8 only with a byte order mark.
        frame.to_csv(path, index=False, sep=";", decimal=",", encoding="utf-8-sig")
    else:
        frame.to_csv(path, index=False)


def _safe(cell: object) -> object:
    return neutralised(cell) if isinstance(cell, str) else cell


def write_pooled_csv(
    results: Sequence[ResultData], names: Sequence[str], path: Path, dialect: str = CsvDialect.EXCEL
) -> None:
    """Writes the tables of several results as one CSV.

    Args:
        results: n results.
        names: n names of their images.
        path: file to write.
        dialect: a `CsvDialect`.

    Raises:
        InvalidOption: the dialect is unknown.
    """
    write_csv(pooled(results, names), path, dialect)


def write_parquet(result: ResultData, path: Path) -> None:
    """Writes the table as Parquet, with each column's unit in its field and the result's metadata in the schema."""
    _write_parquet(result.to_dataframe(), [dict(result.metadata)], path)


def write_pooled_parquet(results: Sequence[ResultData], names: Sequence[str], path: Path) -> None:
    """Writes the tables of several results as one Parquet file.

    Args:
        results: n results.
        names: n names of their images.
        path: file to write.
    """
    _write_parquet(pooled(results, names), [dict(result.metadata) for result in results], path)


def _write_parquet(frame: pd.DataFrame, metadata: list[dict[str, object]], path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [field.with_metadata({"unit": unit(field.name)}) if unit(field.name) else field for field in table.schema]
    about = {**table.schema.metadata, b"grainserve": json.dumps(metadata).encode()}
    pq.write_table(table.cast(pa.schema(fields, about)), path)
