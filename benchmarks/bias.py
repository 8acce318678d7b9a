"""Measures bias and scatter of measurements on shapes whose true values are known exactly.

    python -m benchmarks.bias        half a minute

Ellipses and rectangles of five forms and nine sizes lie at 24 angles, each at four positions between pixel centres.
Their masks are those of a perfect segmentation, so every error is the measurement's own. Writes
benchmarks/results/bias.json, the tables in docs/measurement.md and docs/images/bias.png.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import page
from benchmarks.shapes import Shape
from grain_handler.grains.measure import measure_mask
from grain_handler.masks import Mask, crop_to_content
from grainserve.results.size_figure import STYLE
from tools.mar import ROOT
from tools.problem import main_exit

RESULTS = ROOT / "benchmarks" / "results" / "bias.json"
PAGE = ROOT / "docs" / "measurement.md"
FIGURE = ROOT / "docs" / "images" / "bias.png"

FORMS = {
    "disc": Shape("ellipse", 1),
    "ellipse 2 : 1": Shape("ellipse", 1, 2),
    "ellipse 4 : 1": Shape("ellipse", 1, 4),
    "square": Shape("rectangle", 1),
    "rectangle 2 : 1": Shape("rectangle", 1, 2),
}
DIAMETERS = (5, 7, 10, 15, 20, 30, 50, 100, 200)
ANGLES = tuple(7.5 * i for i in range(24))
PLACES = 4
SEED = 2026
COLOURS = ("#1f5a92", "#c8691c", "#333333", "#4d9221", "#7b3294")

TABLED = ("disc", "ellipse 2 : 1", "rectangle 2 : 1")
TABLED_DIAMETERS = (5, 10, 20, 50, 100, 200)
TABLED_ANGLES = ANGLES[:7]
"""Angles in the table, degrees; the others are the same by symmetry."""
LARGE = 100
"""Diameter, px, at which the perimeter is given by angle."""


def errors(shape: Shape, dx: float, dy: float) -> dict[str, float]:
    """Returns relative errors of one shape's measurements, %; for its direction, the error in degrees."""
    frame = shape.mask(dx, dy)
    image = np.zeros((*frame.shape, 3), np.uint8)
    found = measure_mask(Mask(*crop_to_content(frame), 1, 1), image, None)
    # An eccentricity of 0 has no relative error.
    off = {key: 100 * (found[key] / true - 1) for key, true in shape.truth.items() if true > 0}
    if shape.aspect > 1:
        off["orientationFromX"] = (found["orientationFromX"] - shape.angle + 90) % 180 - 90
    return off


def measure() -> dict[str, Any]:
    """Measures all forms, sizes, angles and positions."""
    rng = np.random.default_rng(SEED)
    by_size, by_angle = [], []
    for name, form in FORMS.items():
        for diameter in DIAMETERS:
            rows = []
            for angle in ANGLES:
                shape = Shape(form.kind, diameter, form.aspect, angle)
                rows.append([errors(shape, *rng.uniform(-0.5, 0.5, 2)) for _ in range(PLACES)])
            every = [row for at_angle in rows for row in at_angle]
            by_size.append({"form": name, "diameter": diameter, "shapes": len(every), "errors": _summary(every)})
            if diameter == LARGE:
                perimeters = [float(np.mean([row["perimeter"] for row in at_angle])) for at_angle in rows]
                by_angle.append({"form": name, "perimeter": dict(zip(ANGLES, np.round(perimeters, 3), strict=True))})
    return {"seed": SEED, "units": "%; orientationFromX: degree", "by_size": by_size, "by_angle": by_angle}


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Returns bias and scatter (mean and standard deviation over the shapes) of each key."""
    values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {
        key: {"bias": round(float(each.mean()), 3), "scatter": round(float(each.std()), 3)}
        for key, each in values.items()
    }


def tables(results: Mapping[str, Any]) -> str:
    """The tables of docs/measurement.md."""
    lines = []
    for form in TABLED:
        sizes = {row["diameter"]: row["errors"] for row in results["by_size"] if row["form"] == form}
        head = [f"**{form}**, px", *(str(diameter) for diameter in TABLED_DIAMETERS)]
        lines += [_row(head), _row(["---"] + ["--:"] * len(TABLED_DIAMETERS))]
        for key in sizes[TABLED_DIAMETERS[0]]:
            unit = "°" if key == "orientationFromX" else "%"
            cells = [_cell(**sizes[diameter][key]) for diameter in TABLED_DIAMETERS]
            lines.append(_row([f"`{key}`, {unit}", *cells]))
        lines.append("")
    lines += [
        _row([f"`perimeter`, %, {LARGE} px, length at", *(f"{angle:g}°" for angle in TABLED_ANGLES)]),
        _row(["---"] + ["--:"] * len(TABLED_ANGLES)),
    ]
    for row in results["by_angle"]:
        if row["form"] != "disc":
            cells = [f"{row['perimeter'][str(angle)]:+z.1f}" for angle in TABLED_ANGLES]
            lines.append(_row([row["form"], *cells]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(bias: float, scatter: float) -> str:
    return f"{bias:+z.1f} ± {scatter:.1f}"


PANELS = ("perimeter", "circularity", "minorAxisLength", "feretMax", "feretMin", "solidity")


def draw(results: Mapping[str, Any]) -> None:
    """Draws the figure: bias and scatter over size."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.09, 4.2), dpi=200, layout="constrained")
        for key, axes in zip(PANELS, figure.subplots(2, 3, sharex=True).flat, strict=True):
            for form, colour in zip(FORMS, COLOURS, strict=True):
                found = [row["errors"][key] for row in results["by_size"] if row["form"] == form]
                bias, scatter = (np.array([each[name] for each in found]) for name in ("bias", "scatter"))
                axes.plot(DIAMETERS, bias, color=colour, lw=1.2, label=form)
                axes.fill_between(DIAMETERS, bias - scatter, bias + scatter, color=colour, alpha=0.12, lw=0)
            axes.axhline(0, color="0.5", lw=0.6, zorder=0)
            axes.set(xscale="log", title=key)
            axes.set_xticks(TABLED_DIAMETERS, labels=map(str, TABLED_DIAMETERS))
            axes.minorticks_off()
        for axes in figure.axes[::3]:
            axes.set_ylabel("Error (%)")
        for axes in figure.axes[3:]:
            axes.set_xlabel("Equivalent diameter (px)")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(FORMS))
        figure.savefig(FIGURE)


def main() -> int:
    """Measures, writes, draws."""
    RESULTS.write_text(json.dumps(measure(), indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    page.put(PAGE, "bias", tables(results))
    draw(results)
    Console().print(f"{RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}, {FIGURE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    main_exit(main)
