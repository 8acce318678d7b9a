"""The picture: time over points, image side and grains, and time by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.against_stock.stages import STAGES
from benchmarks.side_by_side.picture import STYLE

Case = Mapping[str, Any]

LOOKS = {"stock": ("0.35", "s"), "fp32": ("#1f5a92", "o"), "bf16": ("#c8691c", "^"), "int8": ("#3f8f5b", "D")}
"""Colour and marker of each line."""

STAGE_COLOURS = ("#1f5a92", "#c8691c", "#e5b567", "#7fb2d6", "#8c5fa8", "#3f8f5b", "0.75")


def draw(cases: Sequence[Case], path: Path, caption: str) -> None:
    """Writes the picture as PNG, 200 dpi, 180 mm wide.

    Args:
        cases: the results' cases.
        path: file to write.
        caption: one line at the foot.
    """
    exact = [case for case in cases if not case["adaptive"]]
    headlines = [
        [case for case in exact if "headline" in case["groups"] and case["model"] == model]
        for model in dict.fromkeys(case["model"] for case in exact)
    ]
    bars = [cases for cases in headlines if cases]
    scaled = any(_of(exact, group) for group in ("points", "side", "grains"))
    heights = [2.6] * scaled + [0.55 + 0.24 * (1 + len(cases)) for cases in bars]
    if not heights:
        return
    with rc_context(STYLE):
        figure = Figure(figsize=(7.09, sum(heights) + 0.75), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        rows = figure.add_gridspec(len(heights), 3, height_ratios=heights)
        if scaled:
            lines = (
                ("points", "sam_tiny: points", "Points along a side", lambda case: case["points_per_side"]),
                ("side", "sam_tiny: image size", "Image side, px", lambda case: case["width"]),
                ("grains", "sam_tiny: content", "Grains in the image", lambda case: case["grains"]),
            )
            panels: list[Axes] = []
            for column, (group, title, label, value) in enumerate(lines):
                axes = figure.add_subplot(rows[0, column], sharey=panels[0] if panels else None)
                _scaling(axes, _of(exact, group), value)
                axes.set(title=title, xlabel=label)
                panels.append(axes)
            panels[0].set_ylabel("Seconds an image")
            panels[0].legend(loc="upper left", handlelength=1.5)
        for row, of_model in enumerate(bars, start=int(scaled)):
            _stages(figure.add_subplot(rows[row, :]), of_model, last=row == len(heights) - 1)
        patches = [Patch(color=colour, label=stage) for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True)]
        if bars:
            figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), handlelength=1)
        figure.suptitle(caption, fontsize=7.5, color="0.35")
        figure.savefig(path, format="png")


def _label(name: str) -> str:
    return name if name == "stock" else f"ours, {name}"


def _of(cases: Sequence[Case], group: str) -> list[Case]:
    return [case for case in cases if group in case["groups"]]


def _scaling(axes: Axes, cases: Sequence[Case], value: Callable[[Case], int]) -> None:
    """Draws seconds over one quantity: a line for stock and one for each precision, with the ratio at each point."""
    if not cases:
        axes.set_axis_off()
        return
    precisions = list(dict.fromkeys(case["precision"] for case in cases))
    stock = sorted({value(case): case["stock_seconds"] for case in cases}.items())
    lines = {"stock": stock}
    for precision in precisions:
        mine = [case for case in cases if case["precision"] == precision]
        lines[precision] = sorted((value(case), case["ours_seconds"]) for case in mine)
    fastest = min(precisions, key=lambda precision: lines[precision][-1][1])
    for name, line in lines.items():
        colour, marker = LOOKS[name]
        axes.plot(*zip(*line, strict=True), color=colour, marker=marker, markersize=4, label=_label(name))
        if name == "stock":
            continue
        below = name == fastest
        for (x, seconds), (_, stocks) in zip(line, stock, strict=True):
            axes.annotate(
                f"{stocks / seconds:.1f}×",
                (x, seconds),
                textcoords="offset points",
                xytext=(0, -11 if below else 5),
                ha="center",
                color=colour,
                fontsize=7,
            )
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.2)
    axes.xaxis.set_major_locator(FixedLocator([x for x, _ in stock]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="0.9", linewidth=0.6)


def _stages(axes: Axes, cases: Sequence[Case], last: bool) -> None:
    """Draws a bar for stock and one for each precision, split by stage."""
    first = cases[0]
    bars = [("stock", first["stock_seconds"], first["stages_stock"])]
    bars += [(case["precision"], case["ours_seconds"], case["stages_ours"]) for case in cases]
    for row, (_, seconds, stages) in enumerate(bars):
        left = 0.0
        scale = seconds / (sum(stages.values()) or 1)  # on a GPU the split run waits after each stage
        for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
            width = stages.get(stage, 0.0) * scale
            axes.barh(row, width, left=left, color=colour, height=0.72)
            left += width
        ratio = f"  ({first['stock_seconds'] / seconds:.1f}×)" if row else ""
        axes.annotate(
            f"{seconds:.3g} s{ratio}",
            (left, row),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=7,
        )
    axes.set_yticks(range(len(bars)), [_label(name) for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(seconds for _, seconds, _ in bars))
    axes.tick_params(axis="y", length=0)
    points = first["points_per_side"]
    axes.set_title(f"{first['model']}, {first['width']} × {first['height']} px, {points} × {points} points", loc="left")
    if last:
        axes.set_xlabel("Seconds an image")
