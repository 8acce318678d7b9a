"""Options that all commands with statistics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from grainserve.contract import number
from grainserve.errors import InvalidOption
from grainserve.stats.astm import METHODS
from grainserve.stats.population import PERCENTS

ALL_METHODS = "all"

EdgeCorrection = Annotated[
    bool,
    typer.Option(
        "--edge-correction/--no-edge-correction",
        help="Leave out grains that the frame cuts and weight the others for it (Miles–Lantuéjoul).",
    ),
]
Astm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD",
        help="Add the grain size G by a method of ASTM E112, for grains that fill the image: "
        f"{', '.join(METHODS)}, or {ALL_METHODS}. May be repeated. Each image is a field.",
    ),
]
AstmGaps = Annotated[
    int,
    typer.Option(
        metavar="PX",
        min=0,
        help="Before --astm counts, close gaps between grains up to this wide, since E112's boundaries have no width. "
        "Wider pores and second phases stay; 0 closes none.",
    ),
]
ScaleError = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Error of the scale, such as 2%: half of its 95 % interval, which the intervals of sizes then include. "
        "Default: what the source of the scale tells, as of a scale bar; else the scale is taken as exact.",
    ),
]
OutlineError = Annotated[
    float,
    typer.Option(
        metavar="PX",
        min=0,
        help="Error of outlines on each side, half of its 95 % interval; diameters are twice as far off.",
    ),
]
Percentiles = Annotated[
    str | None,
    typer.Option(metavar="P,P,…", help="Percentiles to report, such as 10,30,50; default 5,10,16,25,50,75,84,90,95."),
]


def percents(text: str | None) -> tuple[float, ...]:
    """Reads percentiles.

    Args:
        text: numbers with commas between them; None: the usual percentiles.

    Raises:
        InvalidOption: the text is no list of numbers.
    """
    if text is None:
        return PERCENTS
    try:
        return tuple(number(each) for each in text.split(","))
    except ValueError:
        raise InvalidOption(
            f"--percentiles is {text!r}; it must be numbers with commas between them, such as 10,30,50 or 2.5,50"
        ) from None


def share(text: str | None) -> float | None:
    """Reads a percentage, such as `2%`, as a share.

    Args:
        text: percentage; None stays None.

    Raises:
        InvalidOption: the text is no percentage.
    """
    if text is None:
        return None
    try:
        if text.endswith("%"):
            return number(text[:-1].rstrip()) / 100
    except ValueError:
        pass
    raise InvalidOption(f"--scale-error is {text!r}; it must be a percentage such as 2%")


def spacing(text: str) -> float | None:
    """The spacing of a grid that was asked for; None for `auto`.

    Raises:
        InvalidOption: the text is neither `auto` nor a number.
    """
    if text == "auto":
        return None
    try:
        return number(text)
    except ValueError:
        raise InvalidOption(f"--grid is {text!r}; it must be auto or a distance such as 250") from None


def methods(astm: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the methods of ASTM E112 that were asked for.

    Args:
        astm: methods, or `all` for all of them; None: none.
    """
    return tuple(METHODS) if ALL_METHODS in (astm or ()) else tuple(astm or ())
