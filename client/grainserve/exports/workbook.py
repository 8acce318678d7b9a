"""Writes a sample's grains and statistics as a workbook (xlsx), with sheets as labs know them from GRADISTAT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from grainserve.errors import ExtraMissing, InvalidOption
from grainserve.escaping import visible
from grainserve.exports.formulas import neutralised
from grainserve.exports.table import pooled
from grainserve.stats.classes import WENTWORTH, Classes
from grainserve.stats.gradistat import METHODS
from grainserve.stats.gradistat.modes import MOST as MOST_MODES
from grainserve.stats.gradistat.texture import CLASSES
from grainserve.stats.interval import REASONS
from grainserve.stats.population import phi

if TYPE_CHECKING:
    from grainserve.results.data import ResultData
    from grainserve.stats import Interval, Summary
    from grainserve.stats.population import Population

Cell = str | float | bool | None
Row = Sequence[Cell]

MOST_ROWS = 1_048_576
"""Rows that a sheet of Excel holds."""

_FOLK = (("mud", 1 / 16), ("sand", 2.0), ("gravel", float("inf")))


def check_library() -> None:
    """Checks that openpyxl is installed, so that callers fail before any work.

    Raises:
        ExtraMissing: it is not installed.
    """
    if find_spec("openpyxl") is None:
        raise ExtraMissing("openpyxl", "exports")


def write_workbook(summary: Summary, results: Sequence[ResultData], names: Sequence[str], path: Path) -> None:
    """Writes a workbook with the sheets sample, grains, sizes, classes and parameters.

    Numbers are numbers, and what could not be measured is empty. Texts that a spreadsheet could run as formulas have an
    apostrophe in front, and control characters are written out.

    Args:
        summary: statistics of the sample.
        results: n results that the sample was pooled from.
        names: n names of their images.
        path: file to write.

    Raises:
        ExtraMissing: openpyxl is not installed.
        InvalidOption: there are more grains than a sheet has rows.
    """
    check_library()
    from openpyxl import Workbook  # noqa: PLC0415 - an optional extra
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415

    if summary.grains >= MOST_ROWS:
        raise InvalidOption(
            f"{summary.grains} grains are more than the {MOST_ROWS} rows of a sheet: take csv or parquet"
        )
    book = Workbook(write_only=True)
    bold = Font(bold=True)
    for title, rows in (
        ("sample", _sample(summary)),
        ("grains", _grains(results, names)),
        ("sizes", _sizes(summary)),
        ("classes", _classes(summary)),
        ("parameters", _parameters(summary)),
    ):
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        sheet.column_dimensions["A"].width = 28
        for index, row in enumerate(rows):
            cells: list[object] = [_cell(each) for each in row]
            if index == 0:
                cells = [WriteOnlyCell(sheet, each) for each in cells]
                for cell in cells:
                    cell.font = bold  # type: ignore[attr-defined]
            sheet.append(cells)
    book.save(path)


def _cell(value: Cell) -> Cell:
    if isinstance(value, str):
        return neutralised(visible(value))
    return None if isinstance(value, float) and not isfinite(value) else value


def _sample(summary: Summary) -> Iterator[Row]:
    how = summary.resampling
    yield ("what", "value")
    yield ("sample", summary.name)
    yield ("unit of lengths", summary.unit)
    yield ("size", summary.size)
    yield ("only grains under a grid's nodes", summary.grid)
    yield ("images", len(summary.images))
    yield ("grains", summary.grains)
    yield ("grains that sizes are taken from", summary.used)
    yield ("grains at the frame", summary.at_edge)
    yield ("grains under 10 px across", summary.below_detection)
    yield ("share of the frames covered", summary.coverage)
    yield ("sizes corrected for the frame (Miles–Lantuéjoul)", summary.edge_correction)
    yield ("intervals: resamples drawn by", how.by)
    yield ("intervals: resamples", how.resamples)
    yield ("intervals: level", how.level)
    yield ("intervals hold for the", summary.intervals_hold_for)
    yield ("intervals include", summary.errors.words(summary.unit))


def _grains(results: Sequence[ResultData], names: Sequence[str]) -> Iterator[Row]:
    frame = pooled(results, names)
    yield [str(column) for column in frame.columns]
    for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None):
        yield [each.item() if hasattr(each, "item") else each for each in row]


def _sizes(summary: Summary) -> Iterator[Row]:
    unit = summary.unit
    yield (
        "finer than D, %",
        *(
            f"{what} by {by}"
            for by in ("number", "area")
            for what in (f"D ({unit})", "low", "high", "no interval", "φ of D")
        ),
    )
    for percent in summary.number.percentiles:
        cells: list[Cell] = [percent]
        for each in (summary.number, summary.area):
            cells += [*_ends(each.percentiles[percent]), each.phi[percent].value if each.phi else None]
        yield cells


def _classes(summary: Summary) -> Iterator[Row]:
    yield ("scheme", "class", "from (mm)", "to (mm)", "from (φ)", "to (φ)", "share by number", "share by area")
    number, area = summary.number, summary.area
    if number.gradistat.texture and area.gradistat.texture and number.wentworth and area.wentworth:
        one, other = number.gradistat.texture, area.gradistat.texture
        yield from _shares("Blott & Pye (2001)", CLASSES, one.classes, other.classes)
        yield from _shares("Wentworth (1922)", WENTWORTH, number.wentworth, area.wentworth)
        of_one, of_other = ({name: getattr(each, name) for name, _ in _FOLK} for each in (one, other))
        yield from _shares("Folk (1954)", _FOLK, of_one, of_other)


def _shares(scheme: str, classes: Classes, number: dict[str, float], area: dict[str, float]) -> Iterator[Row]:
    """Yields classes coarse to fine."""
    limits = [0.0, *(limit for _, limit in classes)]
    for index, (name, upper) in reversed(list(enumerate(classes))):
        lower = limits[index]
        coarse, fine = (phi(1000 * each) if isfinite(each) and each else None for each in (upper, lower))
        yield (scheme, name, lower, upper, coarse, fine, number[name], area[name])


def _parameters(summary: Summary) -> Iterator[Row]:
    yield (
        "parameter",
        "unit",
        *(
            f"{what}{by}"
            for by in ("by number", "by area")
            for what in ("", "low, ", "high, ", "no interval, ", "in words, ")
        ),
    )
    for one, other in zip(_figures(summary.number, summary.unit), _figures(summary.area, summary.unit), strict=True):
        (title, unit, value, words), (_, _, also, also_words) = one, other
        yield (title, unit, *_ends(value), words, *_ends(also), also_words)


def _figures(population: Population, unit: str) -> Iterable[tuple[str, str, Interval | float | None, str | None]]:
    """Yields each parameter's title, unit, value, and words."""
    found = population.gradistat
    yield "mean", unit, population.mean, None
    for name, title in METHODS.items():
        if measures := getattr(found, name):
            of_mean, of_sorting = ("φ", "φ") if title.endswith("φ") else (unit, "" if "geometric" in name else unit)
            yield f"{title}: mean", of_mean, measures.mean, measures.mean_class
            yield f"{title}: sorting", of_sorting, measures.sorting, measures.sorting_class
            yield f"{title}: skewness", "", measures.skewness, measures.skewness_class
            yield f"{title}: kurtosis", "", measures.kurtosis, measures.kurtosis_class
    if graphic := population.folk_ward:
        yield "Folk & Ward (1957): mean Mz", "φ", graphic.mean, None
        yield "Folk & Ward (1957): sorting σ_I", "φ", graphic.sorting, graphic.sorting_class
        yield "Folk & Ward (1957): skewness Sk_I", "", graphic.skewness, graphic.skewness_class
        yield "Folk & Ward (1957): kurtosis K_G", "", graphic.kurtosis, graphic.kurtosis_class
    yield "log-normal fit: geometric mean", unit, population.log_normal.geometric_mean, None
    yield "log-normal fit: geometric standard deviation", "", population.log_normal.geometric_sd, None
    yield "log-normal fit: largest distance of the curves", "", population.log_normal.ks_distance, None
    yield "D90/D10", "", found.spread.d90_over_d10, None
    yield "D90 − D10", unit, found.spread.d90_minus_d10, None
    yield "D75/D25", "", found.spread.d75_over_d25, None
    yield "D75 − D25", unit, found.spread.d75_minus_d25, None
    yield "Trask sorting √(D75/D25)", "", found.spread.trask_sorting, None
    for index in range(MOST_MODES):
        peaks = found.modes.peaks
        yield f"mode {index + 1}", unit, peaks[index].size if index < len(peaks) else None, None
    yield "bandwidth of the modes", "φ", found.modes.bandwidth, None
    if found.texture:
        yield "textural group (Folk 1954)", "", None, found.texture.group


def _ends(value: Interval | float | None) -> tuple[float | None, float | None, float | None, str | None]:
    if value is None or isinstance(value, float):
        return value, None, None, None
    return value.value, value.low, value.high, REASONS[value.reason] if value.reason else None
