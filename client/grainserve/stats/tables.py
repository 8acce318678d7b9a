"""Prints a summary to the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grainserve.results.size_curve import Weighting
from grainserve.stats.astm import LEAST_FILLED
from grainserve.stats.astm.number import GrainSizeNumber
from grainserve.stats.bootstrap import ENOUGH_IMAGES
from grainserve.stats.interval import Interval
from grainserve.stats.population import FolkWard
from grainserve.stats.rounding import interval_text, number_text, p_value_text
from grainserve.stats.summary import Summary

_GRAPHIC = {"mean": "mean Mz (φ)", "sorting": "sorting σ (φ)", "skewness": "skewness Sk", "kurtosis": "kurtosis K"}


def print_summary(summary: Summary, weightings: Sequence[Weighting], console: Console) -> None:
    """Prints a summary.

    Args:
        summary: summary to print.
        weightings: weightings of the sizes to show.
        console: console to print to.
    """
    _print_head(summary, console)
    console.print(_sizes(summary, weightings))
    console.print(_log_normal(summary, weightings))
    if summary.number.folk_ward:
        console.print(_folk_ward(summary, weightings))
        console.print(_wentworth(summary, weightings))
    _print_orientation(summary, console)
    if len(summary.images) > 1:
        console.print(_images(summary))
    if summary.grain_size_numbers:
        console.print(_astm(summary.grain_size_numbers))
        _print_largest(summary, console)


def _print_head(summary: Summary, console: Console) -> None:
    images = "1 image" if len(summary.images) == 1 else f"{len(summary.images)} images pooled"
    console.print(
        f"[bold]{escape(summary.name)}[/]: {_grains(summary.grains)} in {images}; they cover {summary.coverage:.0%}",
        soft_wrap=True,
    )
    console.print(
        f"sizes of {summary.used}: the {summary.at_edge} at the frame are left out, and the others weighted by 1/P "
        "(Miles–Lantuéjoul)"
        if summary.edge_correction
        else f"sizes of {summary.used}, {summary.at_edge} of them cut by the frame; no edge correction",
        soft_wrap=True,
    )
    if summary.below_detection:
        console.print(
            f"[yellow]warning:[/] {_grains(summary.below_detection)} under 10 px across: sizes there are of low "
            "precision, and smaller grains may not have been found",
            soft_wrap=True,
        )
    how = summary.resampling
    if how.resamples:
        console.print(
            f"{how.level:.0%} intervals of the {how.holds_for}: bootstrap, {how.resamples} resamples by {how.by}",
            soft_wrap=True,
        )
        if how.by == "grain":
            console.print(
                f"[yellow]warning:[/] an interval of the sample wants {ENOUGH_IMAGES} images or more: grains of one "
                "image are neighbours, and images differ",
                soft_wrap=True,
            )


def _sizes(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    table = _table("diameter")
    shown = [summary.population(each) for each in weightings]
    for weighting, each in zip(weightings, shown, strict=True):
        table.add_column(f"by {weighting} ({summary.unit})", justify="right")
        if each.phi:
            table.add_column("φ", justify="right")
    for percent in summary.number.percentiles:
        cells = []
        for each in shown:
            cells.append(_interval(each.percentiles[percent]))
            if each.phi:
                cells.append(f"{each.phi[percent].value:.2f}")
        table.add_row(f"D{percent:g}", *cells)
    gap = [""] if summary.number.phi else []
    table.add_row("mean", *(cell for each in shown for cell in (_interval(each.mean), *gap)))
    return table


def _log_normal(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    table = _table("log-normal fit", *(f"by {each}" for each in weightings))
    fits = [summary.population(each).log_normal for each in weightings]
    table.add_row(f"geometric mean ({summary.unit})", *(_interval(each.geometric_mean) for each in fits))
    table.add_row("geometric standard deviation", *(_interval(each.geometric_sd) for each in fits))
    table.add_row("largest distance of the curves", *(f"{each.ks_distance:.1%}" for each in fits))
    return table


def _folk_ward(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    table = _table("Folk & Ward (1957)", *(f"by {each}" for each in weightings))
    measured = [each for each in (summary.population(weighting).folk_ward for weighting in weightings) if each]
    for key, title in _GRAPHIC.items():
        table.add_row(title, *(_graphic(each, key) for each in measured))
    return table


def _graphic(measures: FolkWard, key: str) -> str:
    name = getattr(measures, f"{key}_class", None)
    value: Interval = getattr(measures, key)
    return "\n".join(filter(None, (_interval(value), name)))


def _wentworth(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    table = _table("Wentworth (1922)", *(f"by {each}" for each in weightings))
    shares = [summary.population(each).wentworth or {} for each in weightings]
    for name in reversed(summary.number.wentworth or {}):
        if any(each[name] for each in shares):
            table.add_row(name, *(f"{each[name]:.1%}" for each in shares))
    return table


def _print_orientation(summary: Summary, console: Console) -> None:
    found = summary.orientation
    if found.mean is None or found.resultant is None or found.p_value is None:
        console.print("orientation: no elongated grains")
        return
    console.print(
        f"orientation: mean {found.mean:.0f}° from +x, R̄ {found.resultant:.2f}, Rayleigh p "
        f"{p_value_text(found.p_value)}, of {_grains(found.grains)} ({found.equant} nearly equant left out)",
        soft_wrap=True,
    )


def _images(summary: Summary) -> Table:
    columns = ("grains", "at the frame", f"D50 by number ({summary.unit})", f"D50 by area ({summary.unit})")
    table = _table("image", *columns)
    for each in summary.images:
        d50 = ["" if value is None else number_text(value) for value in (each.d50_number, each.d50_area)]
        table.add_row(escape(each.image), str(each.grains), str(each.at_edge), *d50)
    return table


def _astm(numbers: Sequence[GrainSizeNumber]) -> Table:
    table = _table("ASTM E112", "G", "G (ISO 643)", "counted", "fields", "%RA", "mean size")
    for each in numbers:
        area = each.density_unit == "mm⁻²"
        size = f"{number_text(each.mean_size * 1e6)} µm²" if area else f"{number_text(each.mean_size * 1e3)} µm"
        accuracy = "" if each.relative_accuracy is None else f"{each.relative_accuracy:.1f}"
        cells = (f"{each.g_iso.value:.2f}", f"{each.count:g}", str(each.fields), accuracy, size)
        table.add_row(each.method, _interval(each.g), *cells)
    return table


def _print_largest(summary: Summary, console: Console) -> None:
    if summary.coverage < LEAST_FILLED:
        console.print(
            f"[yellow]warning:[/] grains cover {summary.coverage:.0%}: E112 is for grains that fill the image, and "
            "planimetric G is too low here",
            soft_wrap=True,
        )
    if largest := summary.largest_grain:
        cut = ", cut by the frame: it is larger still" if largest.touches_edge else ""
        console.print(
            f"largest grain (ASTM E930): G {largest.g:.2f}, {number_text(largest.area * 1e6)} µm², grain "
            f"{largest.grain} of {largest.image}{cut}",
            soft_wrap=True,
        )


def _table(*titles: str) -> Table:
    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True  # names of methods and images differ at their ends
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _interval(interval: Interval) -> str:
    return interval_text(interval.value, interval.low, interval.high, interval.reason)


def _grains(count: int) -> str:
    return "1 grain" if count == 1 else f"{count} grains"
