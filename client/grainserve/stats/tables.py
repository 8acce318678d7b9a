"""Prints a summary to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grainserve.results import edge_correction
from grainserve.results.rounding import number_text
from grainserve.results.size_curve import Weighting
from grainserve.stats.astm.table import print_grain_sizes
from grainserve.stats.bootstrap import ENOUGH_IMAGES
from grainserve.stats.gradistat import METHODS, Gradistat
from grainserve.stats.gradistat.measures import Measures
from grainserve.stats.interval import PARTS, Interval
from grainserve.stats.piezometers import Stress
from grainserve.stats.population import FolkWard
from grainserve.stats.rounding import interval_text, p_value_text, parts_text
from grainserve.stats.stereology import Unfolding
from grainserve.stats.summary import Summary

_GRAPHIC = {"mean": "mean Mz (φ)", "sorting": "sorting σ (φ)", "skewness": "skewness Sk", "kurtosis": "kurtosis K"}
_MEASURES = ("mean", "sorting", "skewness", "kurtosis")


def print_summary(
    summary: Summary, weightings: Sequence[Weighting], console: Console, *, gradistat: bool = False
) -> None:
    """Prints a summary.

    Args:
        summary: summary to print.
        weightings: weightings of the sizes to show.
        console: console to print to.
        gradistat: whether to print what GRADISTAT tells as well.
    """
    _print_head(summary, console)
    console.print(_sizes(summary, weightings))
    if summary.errors.any and summary.resampling.resamples:
        console.print(_parts(summary, weightings))
    console.print(_log_normal(summary, weightings))
    if summary.number.folk_ward:
        console.print(_folk_ward(summary, weightings))
        console.print(_wentworth(summary, weightings))
    if gradistat:
        described = {f"by {each}": summary.population(each).gradistat for each in weightings}
        console.print(_measures(described, summary.unit))
        console.print(_spread(described, summary.unit))
        if summary.number.gradistat.texture:
            console.print(_texture(described))
    _print_orientation(summary, console)
    if len(summary.images) > 1:
        console.print(_images(summary))
    if summary.unfolding:
        _print_unfolding(summary.unfolding, summary.unit, console)
    if summary.stresses:
        console.print(_stresses(summary.stresses))
        console.print(
            "intervals are those of the mean size alone, without the calibration's uncertainty", soft_wrap=True
        )
    if summary.grain_size_numbers:
        print_grain_sizes(summary.grain_size_numbers, summary.largest_grain, console)


def _print_head(summary: Summary, console: Console) -> None:
    images = "1 image" if len(summary.images) == 1 else f"{len(summary.images)} images pooled"
    console.print(
        f"[bold]{escape(summary.name)}[/]: {_grains(summary.grains)} in {images}; they cover {summary.coverage:.0%}",
        soft_wrap=True,
    )
    console.print(
        edge_correction.said_of(summary.used, summary.at_edge, edge_correction=summary.edge_correction), soft_wrap=True
    )
    if summary.grid:
        console.print("grid by number: the grains under the nodes of a grid, each once", soft_wrap=True)
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
        console.print(f"intervals include: {summary.errors.words(summary.unit)}", soft_wrap=True)


def _sizes(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    table = _table(summary.size)
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


def _parts(summary: Summary, weightings: Sequence[Weighting]) -> Table:
    columns = [f"by {each}: {part}" for each in weightings for part in PARTS]
    table = _table(f"half of an interval ({summary.unit})", *columns)
    shown = [summary.population(each) for each in weightings]
    for name in shown[0].sizes:
        table.add_row(name, *(cell for each in shown for cell in parts_text(each.sizes[name])))
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


def _measures(described: dict[str, Gradistat], unit: str) -> Table:
    table = _table("GRADISTAT (2001)", *described)
    for method, title in METHODS.items():
        measured = [getattr(each, method) for each in described.values()]
        if measured[0] is None:
            continue
        lengths = ("mean",) if "geometric" in method else ("mean", "sorting")
        for name in _MEASURES:
            own_unit = f" ({'φ' if title.endswith('φ') else unit})" if name in lengths else ""
            table.add_row(f"{title}: {name}{own_unit}", *(_measure(each, name) for each in measured))
    return table


def _measure(measures: Measures, name: str) -> str:
    value: Interval = getattr(measures, name)
    return "\n".join(filter(None, (_interval(value), getattr(measures, f"{name}_class"))))


def _spread(described: dict[str, Gradistat], unit: str) -> Table:
    table = _table("spread and modes", *described)
    for name, title in (
        ("d90_over_d10", "D90/D10"),
        ("d90_minus_d10", f"D90 − D10 ({unit})"),
        ("d75_over_d25", "D75/D25"),
        ("d75_minus_d25", f"D75 − D25 ({unit})"),
        ("trask_sorting", "sorting √(D75/D25) (Trask)"),
    ):
        table.add_row(title, *(_interval(getattr(each.spread, name)) for each in described.values()))
    modes = [each.modes for each in described.values()]
    table.add_row(
        f"modes ({unit}), highest first", *(", ".join(number_text(peak.size) for peak in each.peaks) for each in modes)
    )
    table.add_row("their kernel's bandwidth (φ)", *(number_text(each.bandwidth) for each in modes))
    return table


def _texture(described: dict[str, Gradistat]) -> Table:
    table = _table("Folk (1954), GRADISTAT's classes", *described)
    textures = [each.texture for each in described.values() if each.texture]
    table.add_row("textural group", *(each.group for each in textures))
    for name in ("gravel", "sand", "mud"):
        table.add_row(name, *(f"{getattr(each, name):.1%}" for each in textures))
    for name in reversed(textures[0].classes):
        if any(each.classes[name] for each in textures):
            table.add_row(f"  {name}", *(f"{each.classes[name]:.1%}" for each in textures))
    return table


def _print_orientation(summary: Summary, console: Console) -> None:
    found = summary.orientation
    if found.mean is None or found.resultant is None or found.p_value is None:
        console.print("orientation: no elongated grains")
        return
    ends = ""
    if (interval := found.mean_interval) and interval.low is not None and interval.high is not None:
        ends = f" ({summary.resampling.level:.0%}: {interval.low:.0f}° to {interval.high:.0f}°)"
    console.print(
        f"orientation: mean {found.mean:.0f}° from +x{ends}, R̄ {found.resultant:.2f}, Rayleigh p "
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


def _print_unfolding(unfolding: Unfolding, unit: str, console: Console) -> None:
    found = unfolding.saltykov
    table = _table(f"Saltykov: diameter ({unit})", "share of grains", "of grains per volume", "finer, by volume")
    columns = zip(
        found.edges[:-1],
        found.edges[1:],
        found.shares,
        found.shares_per_volume,
        found.finer_by_volume,
        strict=True,
    )
    for low, high, *shares in columns:
        table.add_row(f"{number_text(low)} to {number_text(high)}", *(f"{each:.1%}" for each in shares))
    console.print(table)
    if fit := unfolding.two_step:
        console.print(
            f"two-step method: geometric mean {number_text(fit.geometric_mean)} ± "
            f"{number_text(3 * fit.geometric_mean_error)} {unit}, multiplicative standard deviation "
            f"{number_text(fit.shape)} ± {number_text(3 * fit.shape_error)} (3 standard errors), {fit.bins} bins",
            soft_wrap=True,
        )
    else:
        console.print("two-step method: no log-normal distribution fits", soft_wrap=True)


def _stresses(found: Sequence[Stress]) -> Table:
    table = _table("piezometer", "mean size (µm)", "stress (MPa)", "in plane strain (MPa)")
    for each in found:
        kind = "RMS" if each.piezometer.mean == "rms" else "mean"
        plane = each.stress.map(lambda value: value * 2 / sqrt(3))
        table.add_row(each.piezometer.key, f"{kind} {_interval(each.size)}", _interval(each.stress), _interval(plane))
    return table


def _table(*titles: str) -> Table:
    table = Table(*titles, box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True  # names of methods and images differ at their ends
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _interval(interval: Interval) -> str:
    # Rich would take a reason in brackets for a style, and print nothing of it.
    return escape(interval_text(interval.value, interval.low, interval.high, interval.reason))


def _grains(count: int) -> str:
    return "1 grain" if count == 1 else f"{count} grains"
