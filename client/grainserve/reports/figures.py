"""Draws the charts of a report as SVG, 180 mm wide."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from grainserve.reports.document import Picture
from grainserve.reports.overlays import SizeColours
from grainserve.reports.qc import FEW_GRAINS
from grainserve.reports.shapes import Shapes
from grainserve.results.rounding import number_text
from grainserve.results.size_curve import SizeCurve, Weighting, size_curve
from grainserve.results.size_figure import AREA, MARKED, NUMBER, log_sizes, styled
from grainserve.stats import Interval, Sample, Summary
from grainserve.stats.orientation import Orientation
from grainserve.stats.population import PERCENTS
from grainserve.stats.rounding import interval_decimals

Floats = NDArray[np.float64]

WIDTH = 7.09
"""Width of a figure, inches."""

MOST_POINTS = 1500
"""Largest number of points in a scatter plot: more hide each other and make the file large."""

SAMPLES = ("#1f5a92", "#c8691c", "#3a7d44", "#8e3b7a", "#7a6a00", "#2a8c94", "#a8201a", "#5b6470")
"""Colours of compared samples; they repeat with another line style of `LINES`."""
LINES = ("-", "--", ":")

MOST_INSIDE = 4
"""Largest number of samples whose legend fits inside the axes; a longer legend would hide curves and stands below."""


@dataclass(frozen=True)
class Drawn:
    """The sizes of a sample, ready to draw.

    Attributes:
        name: name in the legend.
        sizes: n, equivalent diameters.
        shares: n, share of each grain in the population; the shares add up to 1.
        curve: cumulative curve.
        percentiles: percent p → D_p with its interval, D5 … D95.
    """

    name: str
    sizes: Floats
    shares: Floats
    curve: SizeCurve
    percentiles: Mapping[float, Interval]

    @classmethod
    def of(cls, name: str, sample: Sample, summary: Summary, weighting: Weighting) -> Drawn:
        """Takes the grains of a sample with the weights of its summary.

        Args:
            name: name in the legend.
            sample: sample to draw.
            summary: summary of the sample.
            weighting: `number` or `area`.
        """
        counts = sample.stands_for(edge_correction=summary.edge_correction)
        weights = counts if weighting == "number" else counts * sample.area
        used = weights > 0
        curve = size_curve(sample.diameter, sample.area, weighting, counts)
        shares = weights[used] / weights.sum()
        found = summary.population(weighting).percentiles
        return cls(name, sample.diameter[used], shares, curve, {percent: found[percent] for percent in PERCENTS})


def size_figure(number: Drawn, area: Drawn, unit: str) -> Picture:
    """Draws the histogram of sizes by number and by area, and the cumulative curves with D-values and intervals.

    Args:
        number: sizes by number.
        area: sizes by area.
        unit: unit of the sizes, `µm` or `px`.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _histogram(left, number, area, unit)
        for drawn, colour, line in ((number, NUMBER, "-"), (area, AREA, "--")):
            _curve(right, drawn, colour, line, _d_values(drawn, unit))
            values = [drawn.percentiles[percent].value for percent in MARKED]
            right.plot(values, MARKED, "o", color=colour, ms=4, mec="white", mew=0.7, zorder=4, clip_on=False)
        _cumulative_axes(right, float(number.sizes.min()), float(number.sizes.max()), unit)
        _letter(left, right, above="\n")  # makes room for two lines of legend
        for axes in (left, right):  # above the axes, where no curve can run through it
            legend = axes.legend(loc="lower right", bbox_to_anchor=(1.02, 1.0), handlelength=2.0, borderpad=0.2)
            legend.set_in_layout(False)

    return _picture(draw, "Histogram of grain sizes and cumulative grain-size curves", WIDTH, 3.05)


def comparison_figure(samples: Sequence[Drawn], unit: str, words: str) -> Picture:
    """Draws the cumulative curves of samples in one chart, and their percentiles as boxes below each other.

    Args:
        samples: sizes of each sample.
        unit: unit of the sizes, `µm` or `px`.
        words: description of the picture.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        colours = [SAMPLES[index % len(SAMPLES)] for index in range(len(samples))]
        for index, (drawn, colour) in enumerate(zip(samples, colours, strict=True)):
            _curve(left, drawn, colour, LINES[index // len(SAMPLES) % len(LINES)], drawn.name)
        low = min(float(drawn.sizes.min()) for drawn in samples)
        high = max(float(drawn.sizes.max()) for drawn in samples)
        _cumulative_axes(left, low, high, unit)
        if len(samples) > MOST_INSIDE:
            figure.legend(loc="outside lower center", ncols=3, handlelength=2.2)
        else:
            left.legend(loc="upper left", handlelength=2.2, borderaxespad=0.2)
        _boxes(right, samples, colours)
        log_sizes(right, low, high)
        right.set(xlabel=f"Equivalent diameter ({unit})")
        _letter(left, right)

    return _picture(draw, words, WIDTH, max(3.0, 0.3 * len(samples) + 1.4))


def shape_figure(shapes: Shapes, orientation: Orientation) -> Picture:
    """Draws a rose diagram, aspect ratio against circularity, and histograms of roundness and solidity."""

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1))
        rose = figure.add_subplot(grid[0, 0], projection="polar")
        scatter, roundness, solidity = (figure.add_subplot(grid[place]) for place in ((0, 1), (1, 0), (1, 1)))
        _rose(rose, orientation)
        _scatter(scatter, shapes.values["aspectRatio"], shapes.values["circularity"])
        for axes, key in ((roundness, "roundness"), (solidity, "solidity")):
            _shape_histogram(axes, shapes, key)
        _letter(rose, scatter, roundness, solidity)

    return _picture(draw, "Orientation and shapes of the grains", WIDTH, 5.2)


def colour_bar(colours: SizeColours, unit: str) -> Picture:
    """Draws the legend of overlays: a bar of colours over a logarithmic axis of sizes."""

    def draw(figure: Figure) -> None:
        left, axes, right = figure.subplots(1, 3, width_ratios=(1, 3, 1))
        left.set_axis_off()
        right.set_axis_off()
        edges = np.geomspace(colours.low, colours.high, 65)
        # Bars overlap a little: where two only touch, some viewers let the page shine through.
        axes.bar(edges[:-1], 1, 1.5 * np.diff(edges), align="edge", color=colours(edges[:-1]))
        axes.set(yticks=[], ylim=(0, 1), xlabel=f"Equivalent diameter ({unit})")
        log_sizes(axes, colours.low, colours.high)
        axes.set_xlim(colours.low, colours.high)
        axes.spines[:].set_visible(False)

    return _picture(draw, f"Colours from {colours.low:.3g} to {colours.high:.3g} {unit}", WIDTH, 0.6)


def _letter(*axes: Axes, above: str = "") -> None:
    for letter, each in zip("abcd", axes, strict=False):
        each.set_title(f"{above}{letter}", loc="left", fontweight="bold", fontsize=9)


def _rose(axes: Any, orientation: Orientation) -> None:
    step = np.pi / len(orientation.rose)
    middles = (np.arange(2 * len(orientation.rose)) + 0.5) * step
    shares = 100 * np.tile(orientation.rose, 2)
    # The eye compares areas: the radius grows with the root of a share.
    axes.bar(middles, np.sqrt(shares), step, color=NUMBER, alpha=0.75, edgecolor="white", linewidth=0.5)
    top = float(max(shares.max(), 1.0)) * 1.1
    outer = max(share for share in (1, 2, 4, 10, 20, 40, 100) if share <= top)
    axes.set_ylim(0, np.sqrt(top))
    axes.set_yticks(np.sqrt([outer / 4, outer]), [f"{outer / 4:g} %", f"{outer} %"], fontsize=6, color="0.3")
    axes.set_rlabel_position((int(np.argmin(orientation.rose)) + 0.5) * 180 / len(orientation.rose))
    axes.set_xticks(np.radians(range(0, 360, 30)), [f"{angle}°" for angle in range(0, 360, 30)])
    axes.tick_params(axis="x", labelsize=7, pad=0)
    axes.grid(color="0.88", linewidth=0.5)
    axes.set_axisbelow("line")
    for label in axes.get_yticklabels():
        label.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8})
    axes.spines["polar"].set(visible=True, color="0.6", linewidth=0.6)
    if orientation.mean is None:
        axes.text(0.5, 0.5, "no elongated grains", transform=axes.transAxes, ha="center", va="center", color="0.4")
    else:
        angle = np.radians(orientation.mean)
        axes.plot([angle, angle + np.pi], [np.sqrt(top)] * 2, color=AREA, linewidth=1.4)


def _scatter(axes: Axes, aspect: Floats, circularity: Floats) -> None:
    every = np.flatnonzero(np.isfinite(aspect) & np.isfinite(circularity))
    some = every[np.linspace(0, every.size - 1, min(every.size, MOST_POINTS)).astype(int)]
    axes.scatter(
        aspect[some], circularity[some], s=14 if every.size < FEW_GRAINS else 5, color=NUMBER, alpha=0.5, linewidths=0
    )
    longest = float(aspect[some].max(initial=2.0))
    axes.set(xlabel="Aspect ratio", ylabel="Circularity", xlim=(1, longest * 1.03), ylim=(0, 1.1))


def _shape_histogram(axes: Axes, shapes: Shapes, key: str) -> None:
    known = np.isfinite(shapes.values[key])
    values, weights = shapes.values[key][known], shapes.weights[known]
    start = 0.0 if key == "roundness" else min(0.7, np.floor(float(values.min(initial=1.0)) * 10) / 10)
    _bars(axes, values.clip(start, 1), weights / weights.sum(), np.linspace(start, 1, 21))
    axes.axvline(shapes.medians[key].value, color=AREA, linewidth=1.2)
    axes.set(xlabel=key.capitalize(), ylabel="Share of grains (%)", xlim=(start, 1))


def _histogram(axes: Axes, number: Drawn, area: Drawn, unit: str) -> None:
    edges = _bins(number.sizes)
    _bars(axes, number.sizes, number.shares, edges, number.name)
    shares, _ = np.histogram(area.sizes, edges, weights=100 * area.shares)
    axes.stairs(shares, edges, color=AREA, linewidth=1.2, label=area.name)
    log_sizes(axes, edges[0] * 1.02, edges[-1] / 1.02)
    axes.set(xlabel=f"Equivalent diameter ({unit})", ylabel="Share of grains (%)")


def _bars(axes: Axes, values: Floats, shares: Floats, edges: Floats, label: str | None = None) -> None:
    heights, _ = np.histogram(values, edges, weights=100 * shares)
    axes.bar(
        edges[:-1], heights, np.diff(edges), align="edge", color=NUMBER, alpha=0.85, edgecolor="white", linewidth=0.5,
        label=label,
    )  # fmt: skip


def _bins(sizes: Floats) -> Floats:
    """Returns the edges of 5 to 30 bins, chosen by Freedman–Diaconis on ln d."""
    logs = np.log(sizes)
    low, high = float(logs.min()), float(logs.max())
    if high - low < 0.05:
        low, high = low - 0.1, high + 0.1
    count = int(np.clip(len(np.histogram_bin_edges(logs, "fd")) - 1, 5, 30))
    edges: Floats = np.exp(np.linspace(low, high, count + 1))
    edges[[0, -1]] = edges[0] * (1 - 1e-9), edges[-1] * (1 + 1e-9)  # rounded exp(ln d) may miss the outermost grains
    return edges


def _curve(axes: Axes, drawn: Drawn, colour: str, line: str, label: str) -> None:
    steps = np.linspace(0, 100, 401)
    axes.plot(drawn.curve.percentiles(steps), steps, line, color=colour, linewidth=1.4, label=label, zorder=3)
    known = {percent: each for percent, each in drawn.percentiles.items() if each.low is not None}
    if known:
        low, high = ([getattr(each, end) for each in known.values()] for end in ("low", "high"))
        axes.fill_betweenx(list(known), low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)


def _d_values(drawn: Drawn, unit: str) -> str:
    """Writes the legend of a curve with its D-values, each with as many digits as in the table."""
    marks = [drawn.percentiles[percent] for percent in MARKED]
    values = " / ".join(number_text(each.value, interval_decimals(each.low, each.high)) for each in marks)
    return f"{drawn.name}: $D_{{10}}$ / $D_{{50}}$ / $D_{{90}}$ = {values} {unit}"


def _cumulative_axes(axes: Axes, low: float, high: float, unit: str) -> None:
    axes.set(xlabel=f"Equivalent diameter ({unit})", ylabel="Finer (%)", ylim=(0, 100))
    axes.set_yticks([0, 10, 25, 50, 75, 90, 100])
    for percent in MARKED:
        axes.axhline(percent, color="0.88", linewidth=0.6, zorder=1)
    log_sizes(axes, low, high)


def _boxes(axes: Axes, samples: Sequence[Drawn], colours: Sequence[str]) -> None:
    """Draws D5, D25, D50, D75 and D95 of each sample as a horizontal box plot, the first sample on top."""
    boxes = [
        dict(zip(("whislo", "q1", "med", "q3", "whishi"), drawn.curve.percentiles([5, 25, 50, 75, 95]), strict=True))
        | {"label": drawn.name, "fliers": []}
        for drawn in samples
    ]
    parts = axes.bxp(
        boxes, orientation="horizontal", patch_artist=True, showfliers=False, widths=0.55,
        medianprops={"color": "white", "linewidth": 1.4},
    )  # fmt: skip
    for index, colour in enumerate(colours):
        parts["boxes"][index].set(facecolor=colour, edgecolor=colour, alpha=0.85)
        for part in (*parts["whiskers"][2 * index : 2 * index + 2], *parts["caps"][2 * index : 2 * index + 2]):
            part.set(color=colour)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_yticklabels([_short(drawn.name) for drawn in samples])


def _short(name: str) -> str:
    """Shortens a name to 18 characters. Keeps its end, since similar names mostly differ there."""
    return name if len(name) <= 18 else f"{name[:7]}…{name[-10:]}"


def _picture(draw: Callable[[Figure], None], words: str, width: float, height: float) -> Picture:
    with styled({"svg.fonttype": "path"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        # No metadata: fpdf2 does not read it and would warn.
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Picture(buffer.getvalue(), "svg+xml", height / width, words)
