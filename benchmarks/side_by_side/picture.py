"""The picture: throughput and latency over the number of clients, both systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
LOOKS = {"ours": ("#1f5a92", "o", "grainserve"), "example": ("#c8691c", "s", "TorchServe's example")}


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Writes the picture as PNG, 200 dpi, 180 mm wide.

    Args:
        figures: results of benchmarks/serving.py.
        path: file to write.
    """
    levels: Sequence[Mapping[str, Any]] = figures["levels"]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.09, 3.2), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _throughput(left, levels)
        _latency(right, levels)
        options, machine = figures["options"], figures["machine"]
        figure.supxlabel(
            f"{options['image_side']} px image, {options['points_per_side']} × {options['points_per_side']} points, "
            f"the same weights and thresholds; one worker on {machine['cores']} cores",
            fontsize=7.5,
            color="0.35",
        )
        figure.savefig(path, format="png")


def _throughput(axes: Axes, levels: Sequence[Mapping[str, Any]]) -> None:
    clients = [level["clients"] for level in levels]
    for key, (colour, marker, name) in LOOKS.items():
        values = [level[key]["images_per_second"] for level in levels]
        axes.plot(clients, values, color=colour, marker=marker, markersize=4, label=name)
    for level in levels:
        axes.annotate(
            f"{level['throughput_ratio']:.1f}×",
            (level["clients"], level["ours"]["images_per_second"]),
            textcoords="offset points",
            xytext=(0, 6),
            ha="center",
            color=LOOKS["ours"][0],
        )
    axes.set(title="Throughput", ylabel="Images per second")
    top = max(level[key]["images_per_second"] for level in levels for key in LOOKS)
    axes.set_ylim(0, 1.25 * top)
    _clients(axes, clients)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.55))


def _latency(axes: Axes, levels: Sequence[Mapping[str, Any]]) -> None:
    clients = [level["clients"] for level in levels]
    for key, (colour, marker, name) in LOOKS.items():
        for figure, line, face in (("p50_s", "-", colour), ("p99_s", "--", "white")):
            axes.plot(
                clients,
                [level[key][figure] for level in levels],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=4,
                markerfacecolor=face,
                label=f"{name}, {figure[:3]}",
            )
    axes.set(title="Latency", ylabel="Seconds")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _clients(axes, clients)
    axes.legend(loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.4)  # room for the legend above the lines


def _clients(axes: Axes, clients: Sequence[int]) -> None:
    axes.margins(x=0.08)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(clients)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Clients, each asking again as soon as it is answered")
    axes.grid(axis="y", color="0.9", linewidth=0.6)
