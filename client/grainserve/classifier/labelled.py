"""Reads labelled tables: tables of grains with classes that a person filled in, to train a classifier on."""

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

# Aspect ratio and eccentricity are left out: they say the same as roundness, on scales with long tails.
SHAPE = ("circularity", "roundness", "solidity")
COLOUR = tuple(f"{name}_{channel}" for name in ("meanIntensity", "intensityStd") for channel in "rgb")
TEXTURE = ("texture_entropy", "texture_gradientMean", "texture_gradientStd", "texture_coherence")
FEATURES = (*SHAPE, *COLOUR, *TEXTURE)
"""Columns that a classifier uses as features; they do not change with the magnification."""

SIZE = "equivalentDiameter_um"
"""Column with the size, in µm since a size in px depends on the magnification."""

FEWEST = 10
"""Least number of grains of a class: with fewer, nobody can say how well a classifier recognises it."""

UNLABELLED = ("", "grain", "unknown")
"""Values that are no classes: `analyze` writes "grain" by default, and a classifier "unknown"."""

LONGEST = 64
"""Largest length of a class's name, characters."""


@dataclass(frozen=True)
class Labelled:
    """Labelled grains.

    Attributes:
        features: names of the columns.
        values: n × features.
        classes: n, names of the classes.
        tables: n, index of each grain's table.
        left_out: number of rows without a class.
    """

    features: tuple[str, ...]
    values: NDArray[np.float64]
    classes: NDArray[np.str_]
    tables: NDArray[np.intp]
    left_out: int


def read_labelled(paths: Sequence[Path], column: str = "class", with_size: bool = False) -> Labelled:
    """Reads tables that `grainserve analyze` wrote and a person added classes to.

    Leaves out rows without a class, whose column is empty, "grain" or "unknown".

    Args:
        paths: CSV files, usually one for each image, with commas and decimal points, or with semicolons or tabs and
            either decimal sign.
        column: name of the column with the classes.
        with_size: whether the size in µm is a feature too.

    Raises:
        LabelledTableError: a file is no such table, a grain lacks a measurement, or there are too few classes or too
            few grains of a class.
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
        # "NA" may be a class; of the measurements only empty ones are missing.
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
    """Finds the column separator and the decimal sign, which a spreadsheet chooses by country."""
    header, _, rows = text.partition("\n")
    separator = max(",;\t", key=header.count)
    comma = separator != "," and re.search(rf"(?:^|{separator})-?\d+,\d", rows, re.MULTILINE)
    return separator, "," if comma else "."


def _check_rows(path: Path, table: pd.DataFrame, column: str, features: Sequence[str]) -> None:
    """Checks measurements and classes. Row numbers in errors are those of a spreadsheet, whose header is row 1."""
    for name in features:
        # The columns of a table without rows have no type.
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
