"""Tables of grains whose classes a person has filled in: what a classifier learns from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import LabelledTableError
from grainserve.exports.formulas import original

if TYPE_CHECKING:
    import pandas as pd

# Aspect ratio and eccentricity are roundness again, on scales with long tails.
SHAPE = ("circularity", "roundness", "solidity")
COLOUR = tuple(f"{name}_{channel}" for name in ("meanIntensity", "intensityStd") for channel in "rgb")
TEXTURE = ("texture_entropy", "texture_gradientMean", "texture_gradientStd", "texture_coherence")
FEATURES = (*SHAPE, *COLOUR, *TEXTURE)
"""Columns of the table that do not change with the magnification: what classes are told apart by."""

SIZE = "equivalentDiameter_um"
"""In µm, since a size in px is the microscope's as much as the grain's."""

FEWEST = 10
"""Grains of a class: with fewer, nothing can be said about how well it is told apart."""

UNLABELLED = ("", "grain", "unknown")
"""Not classes: what `analyze` writes by default, and what a classifier says of what it does not know."""

LONGEST = 64


@dataclass(frozen=True)
class Labelled:
    """Labelled grains.

    Attributes:
        features: Names of the columns.
        values: n × features.
        classes: n names.
        tables: Which table each grain is of, 0…; n.
        left_out: Rows without a class.
    """

    features: tuple[str, ...]
    values: NDArray[np.float64]
    classes: NDArray[np.str_]
    tables: NDArray[np.intp]
    left_out: int


def read_labelled(paths: Sequence[Path], column: str = "class", with_size: bool = False) -> Labelled:
    """Reads tables that `grainserve analyze` wrote and somebody has filled the classes in.

    Rows without a class are left out: those where the column is empty, "grain" or "unknown".

    Args:
        paths: CSV files, one an image as a rule, with commas and decimal points, or with semicolons or tabs and either
            decimal sign.
        column: The column with the classes.
        with_size: The size in µm is a feature, too.

    Raises:
        LabelledTableError: A file is no such table, a grain lacks a measurement, or there are too few classes or too
            few grains of one.
    """
    features = (*FEATURES, SIZE) if with_size else FEATURES
    tables = [_read(path, column, features) for path in paths]
    rows = sum(len(table) for table in tables)
    tables = [table[~table[column].isin(UNLABELLED)] for table in tables]
    for path, table in zip(paths, tables, strict=True):
        _check_rows(path, table, column, features)
    classes = np.concatenate([table[column].to_numpy(dtype=np.str_) for table in tables])
    _check_classes(classes, column)
    return Labelled(
        features,
        np.concatenate([table[list(features)].to_numpy(dtype=np.float64) for table in tables]),
        classes,
        np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        rows - len(classes),
    )


def _read(path: Path, column: str, features: Sequence[str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    try:
        # "NA" is a class somebody may have; only an empty measurement is none.
        no_value = {name: [""] for name in features}
        separator, decimal = _dialect(path.read_text(encoding="utf-8-sig"))
        table = pd.read_csv(
            path,
            sep=separator,
            decimal=decimal,
            encoding="utf-8-sig",
            dtype={column: "str"},
            keep_default_na=False,
            na_values=no_value,
        )
    except UnicodeDecodeError as error:
        raise LabelledTableError(f"{path} is no CSV table in UTF-8: save it as `CSV UTF-8` ({error})") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LabelledTableError(f"{path} is no CSV table: {error}") from error
    missing = [name for name in (column, *features) if name not in table.columns]
    if SIZE in missing:
        raise LabelledTableError(f"{path} has no sizes in µm: analyze it with a scale, or train without --with-size")
    if missing:
        raise LabelledTableError(
            f"{path} has no column {', '.join(missing)}: give tables that `grainserve analyze` wrote, with their "
            "columns as they are, separated by commas, semicolons or tabs"
        )
    table[column] = table[column].str.strip().map(original)
    return table


def _dialect(text: str) -> tuple[str, str]:
    """Finds the column separator and the decimal sign: spreadsheets save tables as their country writes them."""
    header, _, rows = text.partition("\n")
    separator = max(",;\t", key=header.count)
    comma = separator != "," and re.search(rf"(?:^|{separator})-?\d+,\d", rows, re.MULTILINE)
    return separator, "," if comma else "."


def _check_rows(path: Path, table: pd.DataFrame, column: str, features: Sequence[str]) -> None:
    """Row numbers are a spreadsheet's: the header is row 1."""
    for name in features:
        # The columns of a table without rows are of no type.
        if len(table) and table[name].dtype.kind not in "if":
            raise LabelledTableError(
                f"{path}: column {name} holds text; give numbers with a point, such as 0.5, or all with a comma"
            )
        empty = table.index[~np.isfinite(table[name].to_numpy(dtype=np.float64))]
        if len(empty):
            raise LabelledTableError(
                f"{path}: row {empty[0] + 2} has a class but no {name}, as grains of few pixels have not "
                f"({len(empty)} such rows): empty their {column}"
            )
    for row, name in table[column].items():
        if len(name) > LONGEST or not name.isprintable():
            raise LabelledTableError(
                f"{path}: row {int(str(row)) + 2}: a class is up to {LONGEST} printable characters, not {name[:80]!r}"
            )


def _check_classes(classes: NDArray[np.str_], column: str) -> None:
    counts = Counter(classes.tolist())
    if len(counts) < 2:
        found = f"only {next(iter(counts))!r}" if counts else "none"
        raise LabelledTableError(f"there must be two classes or more in column {column!r}, and there is {found}")
    few = {name: count for name, count in sorted(counts.items()) if count < FEWEST}
    if few:
        said = ", ".join(f"{name!r} ({count})" for name, count in few.items())
        raise LabelledTableError(
            f"a class needs {FEWEST} grains or more, and 50 to be told apart well; too few of {said}: label more, or "
            f"empty their {column}"
        )
