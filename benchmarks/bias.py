"""Measures bias and scatter of measurements on shapes whose true values are known exactly.

    python -m benchmarks.bias        half a minute

Ellipses and rectangles of five forms and nine sizes lie at 24 angles, each at four positions between pixel centres.
Their masks are those of a perfect segmentation, so every error is the measurement's own. Squares
with rounded corners show Wadell's roundness. Writes benchmarks/results/bias.json, the tables in docs/measurement.md and
docs/images/bias.png.
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
from benchmarks.shapes import Shape, rounded
from grain_handler.grains.measure import measure_mask
from grain_handler.masks import Mask, crop_to_content
from grainserve.results.masks import Window
from grainserve.results.size_figure import STYLE
from grainserve.results.wadell import circles
from tools.mar import ROOT
from tools.problem import Problem, main_exit

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
RADII = (16, 20, 30, 50, 100)
"""Inscribed radii of squares with rounded corners, px."""
ROUNDNESSES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
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
    corners = [
        {"radius": radius, "roundness": each, **corner(radius, each)} for each in ROUNDNESSES for radius in RADII
    ]
    return {
        "seed": SEED,
        "units": "%; orientationFromX: degree; roundness of corners: 1",
        "by_size": by_size,
        "by_angle": by_angle,
        "by_corner": corners,
    }


def corner(radius: float, roundness: float) -> dict[str, float]:
    """Wadell's roundness, mean and standard deviation over the angles, of a square whose corners have this one."""
    off = np.random.default_rng(SEED).uniform(-0.5, 0.5, len(ANGLES))
    squares = [
        rounded(2 * radius, 2 * radius, roundness * radius, angle, each)
        for angle, each in zip(ANGLES, off, strict=True)
    ]
    found = [each.roundness for each in map(circles, (Window(0, 0, square) for square in squares)) if each]
    if len(found) < len(ANGLES) or None in found:
        raise Problem(f"a square of inscribed radius {radius} px has no roundness")
    values = np.array(found, float)
    return {"shapes": len(found), "mean": round(float(values.mean()), 4), "scatter": round(float(values.std()), 4)}


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
    lines += [
        "",
        _row(["`wadellRoundness` of a square, inscribed radius, px", *map(str, RADII)]),
        _row(["---"] + ["--:"] * len(RADII)),
    ]
    for roundness in ROUNDNESSES:
        cells = [
            f"{row['mean']:.2f} ± {row['scatter']:.2f}" for row in results["by_corner"] if row["roundness"] == roundness
        ]
        lines.append(_row([f"corners of {roundness:g}", *cells]))
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
