"""Options of a request as options of the command line. Their descriptions and ranges come from the schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from grainserve.contract import describe_option, number, schema, validate_options, whole_number

PANEL = "Options of the request"


def _told(read: Callable[[str], float], least: float = -math.inf) -> Callable[[str], float]:
    """Wraps a reader of numbers so that its errors become errors of the command line.

    Args:
        read: reads a number from text; raises ValueError.
        least: smallest number allowed.
    """

    def parser(text: str) -> float:
        try:
            found = read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if found < least:
            raise typer.BadParameter(f"{text} is below {least:g}")
        return found

    return parser


FLOAT: dict[str, Any] = {"parser": _told(number), "metavar": "FLOAT"}
LENGTH: dict[str, Any] = FLOAT | {"parser": _told(number, least=0)}
INTEGER: dict[str, Any] = {"parser": _told(whole_number), "metavar": "INTEGER"}
"""Arguments of `typer.Option` that read numbers as requests do. typer's own reader would take 1_0 for ten."""


def _purpose(name: str) -> str:
    purpose: str = schema("options")["properties"][name]["description"]
    return f"{purpose[0].upper()}{purpose[1:]}"


def _option(name: str) -> Any:
    words = f"{_purpose(name)}; {describe_option(name)}."
    kinds = schema("options")["properties"][name].get("type", ())
    if "integer" in kinds:
        read: dict[str, Any] = INTEGER
    else:
        read = FLOAT if "number" in kinds else {}
    return typer.Option(help=words, show_default=False, rich_help_panel=PANEL, **read)


def _flag(name: str) -> Any:
    return typer.Option(f"--{name}/--no-{name}", help=f"{_purpose(name)}.", show_default=False, rich_help_panel=PANEL)


Crop = Annotated[str | None, _option("crop")]
IgnoreBottom = Annotated[int | None, _option("ignore_bottom")]
CropSource = Annotated[str | None, _option("crop_source")]
FindDatabar = Annotated[
    bool,
    typer.Option(
        "--find-databar",
        help="Find an electron micrograph's databar, the strip of text at its bottom, and leave it out. The result "
        "says how much was left out.",
        rich_help_panel="Options of the request",
    ),
]
UmPerPx = Annotated[float | None, _option("um_per_px")]
ScaleSource = Annotated[str | None, _option("scale_source")]
Points = Annotated[str | None, _option("points")]
PointsPerSide = Annotated[int | None, _option("points_per_side")]
PointsPerBatch = Annotated[int | None, _option("points_per_batch")]
PredIou = Annotated[float | None, _option("pred_iou_thresh")]
Stability = Annotated[float | None, _option("stability_score_thresh")]
BoxNms = Annotated[float | None, _option("box_nms_thresh")]
CropLayers = Annotated[int | None, _option("crop_n_layers")]
MinMaskRegionArea = Annotated[int | None, _option("min_mask_region_area")]
MinArea = Annotated[int | None, _option("min_area")]
MaxAreaFraction = Annotated[float | None, _option("max_area_fraction")]
Mode = Annotated[str | None, _option("mode")]
Fill = Annotated[bool | None, _flag("fill")]
MaskFormat = Annotated[str | None, _option("mask_format")]
Label = Annotated[str | None, _option("label")]


def given_options(parameters: Mapping[str, object]) -> dict[str, Any]:
    """Picks the options of the request out of a command's parameters and checks them.

    Raises:
        InvalidOption: an option is out of range.
    """
    known = schema("options")["properties"]
    return validate_options({name: value for name, value in parameters.items() if name in known})
