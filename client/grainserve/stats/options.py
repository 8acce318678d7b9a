"""Options that the commands which make statistics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from grainserve.stats.astm import METHODS

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


def methods(astm: Sequence[str] | None) -> tuple[str, ...]:
    """The methods of ASTM E112 that were asked for."""
    return tuple(METHODS) if ALL_METHODS in (astm or ()) else tuple(astm or ())
