"""The size figure: histogram and cumulative grain-size curves side by side."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from grainserve.results.edge_correction import name_of
from grainserve.results.rounding import number_text
from grainserve.results.size_curve import SizeCurve

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 6.8,
    "legend.frameon": False,
    "xtick.direction": "out",
    "ytick.direction": "out",
}
_STYLING = threading.Lock()
NUMBER, AREA = "#1f5a92", "#c8691c"
MARKED = (10, 50, 90)


@contextmanager
def styled(more: Mapping[Any, Any] = MappingProxyType({})) -> Iterator[None]:
    """Applies this project's Matplotlib style inside the block, for one thread at a time.

    Matplotlib's settings belong to the whole process. Two threads that change and restore them at once, as in a
    gateway, would draw in each other's style, and leave the style of one for good.

    Args:
        more: settings beside the style's.
    """
    with _STYLING, rc_context({**STYLE, **more}):
        yield


class SizeFigure(Figure):
    """A Matplotlib figure that a notebook shows, whether or not Matplotlib was set up for it."""

    def png(self, dpi: float = 150) -> bytes:
        """Returns the figure as PNG.

        Args:
            dpi: dots per inch; the figure is 180 mm wide.
        """
        buffer = io.BytesIO()
        with styled():
            self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def size_figure(
    *, number: SizeCurve, area: SizeCurve, unit: str, edge_grains: int, edge_correction: bool
) -> SizeFigure:
    """Draws the figure, 180 mm wide.

    Args:
        number: number-weighted curve.
        area: area-weighted curve of the same grains.
        unit: unit of the sizes.
        edge_grains: number of grains that the frame cuts.
        edge_correction: whether the curves are corrected for the frame: the figure says so.
    """
    with styled():
        figure = SizeFigure(figsize=(7.09, 3.0), dpi=300, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        left.set_title(
            _said(number.sizes.size, edge_grains, edge_correction), loc="left", fontsize=7.5, linespacing=1.5
        )
        if number.sizes.size:
            _histogram(left, number, unit)
            _curves(right, number, area, unit)
        else:
            for axes in (left, right):
                axes.text(0.5, 0.5, "no sizes", transform=axes.transAxes, ha="center", va="center", color="0.4")
                axes.set(xticks=[], yticks=[], xlabel=f"Equivalent diameter ({unit})")
    return figure


def _said(used: int, edge_grains: int, edge_correction: bool) -> str:
    """Describes in two lines how many grains there are sizes of, and whether these are corrected."""
    grains = f"{used} grain{'' if used == 1 else 's'}"
    if edge_grains and not used:
        return f"no correction for the frame: it cuts all {edge_grains} grains"
    how = "left out, the others weighted by 1/P" if edge_correction else "counted at the visible size"
    end = f"\n{edge_grains} cut by it {how}" if edge_grains else ""
    return f"n = {grains}, {name_of(edge_correction=edge_correction)}{end}"


def _histogram(axes: Axes, number: SizeCurve, unit: str) -> None:
    axes.hist(
        number.sizes,
        bins=_bins(number.sizes),
        weights=100 * number.shares,
        color=NUMBER,
        alpha=0.8,
        edgecolor="white",
        linewidth=0.6,
    )
    axes.set(xlabel=f"Equivalent diameter ({unit})", ylabel="Share of grains (%)")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.margins(x=0.02)


def _bins(sizes: NDArray[np.float64]) -> list[float]:
    """Returns Freedman-Diaconis bin edges, held between 5 and 30 bins.

    The rule alone runs away on a few grains and on a long tail.
    """
    low, high = float(sizes.min()), float(sizes.max())
    if low == high:
        return [low * 0.95, low * 1.05]
    count = np.clip(len(np.histogram_bin_edges(sizes, "fd")) - 1, 5, 30)
    return [float(edge) for edge in np.linspace(low, high, int(count) + 1)]


def _curves(axes: Axes, number: SizeCurve, area: SizeCurve, unit: str) -> None:
    steps = np.linspace(0, 100, 401)  # sampled, so that the marks lie on the line however few the grains
    for curve, colour, name, style in ((number, NUMBER, "number-weighted", "-"), (area, AREA, "area-weighted", "--")):
        marks = [curve.percentile(percent) for percent in MARKED]
        values = " / ".join(map(number_text, marks))
        label = f"{name}: $D_{{10}}$ / $D_{{50}}$ / $D_{{90}}$ = {values} {unit}"
        sizes = [curve.percentile(percent) for percent in steps]
        axes.plot(sizes, steps, style, color=colour, linewidth=1.4, label=label, zorder=3)
        axes.plot(marks, MARKED, "o", color=colour, ms=4, mec="white", mew=0.7, zorder=4, clip_on=False)
    for percent in MARKED:
        axes.axhline(percent, color="0.85", linewidth=0.6, zorder=1)
    axes.set(xlabel=f"Equivalent diameter ({unit})", ylabel="Finer (%)", ylim=(0, 100))
    axes.set_yticks([0, 10, 25, 50, 75, 90, 100])
    log_sizes(axes, float(number.sizes.min()), float(number.sizes.max()))
    # Two lines of room above the axes; a legend inside the layout would narrow them to its own width.
    axes.set_title("\n", fontsize=7.5, linespacing=1.5)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.02, 1.0), handlelength=2.0, handletextpad=0.6, borderpad=0.2
    )
    legend.set_in_layout(False)


def log_sizes(axes: Axes, low: float, high: float) -> None:
    """Makes the size axis logarithmic, with plain numbers at 1, 2, 5 × 10^k, and at more digits if the range is short.

    Args:
        axes: axes to change.
        low: smallest size.
        high: largest size.
    """
    axes.set_xscale("log")
    axes.set_xlim(low / 1.08, high * 1.08)
    digits = (1.0, 2.0, 5.0) if high / low > 5 else (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=digits))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(LogLocator(base=10, subs=range(1, 10)) if high / low > 5 else NullLocator())
