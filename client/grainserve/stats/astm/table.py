"""Prints ASTM grain sizes to the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grainserve.results.rounding import ABSENT, number_text
from grainserve.stats.astm.number import GrainSizeNumber, LargestGrain
from grainserve.stats.astm.words import fields_wanted, gaps_closed, more_fields_text, not_filled
from grainserve.stats.rounding import interval_text


def print_grain_sizes(numbers: Sequence[GrainSizeNumber], largest: LargestGrain | None, console: Console) -> None:
    """Prints grain sizes by one or more methods, and the largest grain."""
    console.print(_sizes(numbers))
    console.print(_over_fields(numbers))
    console.print(f"{gaps_closed(numbers)} before counting; {fields_wanted(numbers)}", soft_wrap=True)
    if warning := not_filled(numbers):
        console.print(f"[yellow]warning:[/] {warning}", soft_wrap=True)
    if largest:
        cut = ", cut by the frame: it is larger still" if largest.touches_edge else ""
        console.print(
            f"largest grain (ASTM E930): G {largest.g:.2f}, {number_text(largest.area * 1e6)} µm², grain "
            f"{largest.grain} of {escape(largest.image)}{cut}",
            soft_wrap=True,
        )


def _sizes(numbers: Sequence[GrainSizeNumber]) -> Table:
    table = _table("ASTM E112", "G", "G (ISO 643)", "mean size")
    for each in numbers:
        area = each.density_unit == "mm⁻²"
        size = f"{number_text(each.mean_size * 1e6)} µm²" if area else f"{number_text(each.mean_size * 1e3)} µm"
        table.add_row(
            each.method, interval_text(each.g.value, each.g.low, each.g.high), f"{each.g_iso.value:.2f}", size
        )
    return table


def _over_fields(numbers: Sequence[GrainSizeNumber]) -> Table:
    table = _table("over fields", "fields", "counted", "mean", "s", "95 % CI", "%RA", "more fields")
    for each in numbers:
        s, half = (number_text(value) for value in (each.standard_deviation, each.ci95))
        cells = (f"{number_text(each.density.value)} {each.density_unit}", s, f"± {half}" if each.ci95 else half)
        accuracy = ABSENT if each.relative_accuracy is None else f"{each.relative_accuracy:.1f}"
        table.add_row(each.method, str(each.fields), f"{each.count:g}", *cells, accuracy, more_fields_text(each))
    return table


def _table(*titles: str) -> Table:
    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True  # names of methods differ at their ends
    for column in table.columns[1:]:
        column.justify = "right"
    return table
