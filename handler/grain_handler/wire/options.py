"""The options of a request: names, ranges, defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from grain_handler.errors import InvalidOption, UnknownOption

Share = Annotated[float, Field(ge=0, le=1)]
CROP = re.compile(r"(\d{1,5},){2}[1-9]\d{0,4},[1-9]\d{0,4}", re.ASCII)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _printed(text: str) -> str:
    """Refuses control characters: labels and sources are shown in tables and on terminals."""
    if CONTROL.search(text):
        raise ValueError("should hold no control character")
    return text


def _rectangle(text: str) -> str:
    """Checks that a crop is four numbers, in a form and in JSON alike; `frame` compares them with the image."""
    if not CROP.fullmatch(text):
        raise ValueError("should be x,y,width,height in px, such as 0,0,1024,690")
    return text


class Options(BaseModel):
    """The options of a request: how its image is segmented, measured and answered.

    The default thresholds are stock SAM's; each model config replaces those that do not suit its model.

    Attributes:
        points: where SAM is asked. `grid`: at all points of the grid; `adaptive`: at coarse points first, at finer ones
            only where no confident mask lies; `seeds`: where the encoder predicts grains.
        points_per_side: points of the grid along each side of a crop.
        points_per_batch: points whose masks are held at once before they are filtered; changes no mask.
        pred_iou_thresh: masks with a predicted IoU up to this are dropped, 0…1.
        stability_score_thresh: masks with a stability score under this are dropped, 0…1.
        box_nms_thresh: largest IoU of two masks' boxes, 0…1; above it the worse mask is dropped.
        crop_n_layers: layers of enlarged crops, for grains small against the image; layer n has 4ⁿ crops.
        min_mask_region_area: holes and islands of SAM's masks with fewer pixels are removed first, px; 0 removes none.
        min_area: smallest grain kept, px.
        max_area_fraction: largest grain kept, share of the frame.
        mode: `grains` gives one label map without overlaps; `masks` gives SAM's masks as they are.
        fill: True if every pixel belongs to a grain, as in a metal: gaps of a few px between grains are closed. Only in
            mode `grains`.
        mask_format: how each mask is written: COCO `rle`, base64 `png`, `polygon` or `none`.
        um_per_px: scale, µm per px; adds measurements in µm.
        crop: part of the image that is measured, `x,y,width,height` in px; None measures the whole image.
        ignore_bottom: rows at the image's bottom that are not measured, such as a databar, px.
        crop_source: source of `crop` or `ignore_bottom`, repeated in the answer; no control characters.
        scale_source: source of the scale, repeated in the answer; no control characters.
        label: class of every object, unless the model config names a classifier; no control characters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    points: Literal["grid", "adaptive", "seeds"] = "grid"
    points_per_side: int = Field(default=32, ge=1, le=128)
    points_per_batch: int = Field(default=64, ge=1, le=1024)
    pred_iou_thresh: Share = 0.88
    stability_score_thresh: Share = 0.95
    box_nms_thresh: Share = 0.7
    crop_n_layers: int = Field(default=0, ge=0, le=2)
    min_mask_region_area: int = Field(default=0, ge=0, le=1024 * 1024)
    min_area: int = Field(default=20, ge=0, le=1024 * 1024)
    max_area_fraction: float = Field(default=0.5, gt=0, le=1)
    mode: Literal["grains", "masks"] = "grains"
    fill: bool = False
    mask_format: Literal["rle", "png", "polygon", "none"] = "rle"
    crop: Annotated[str, AfterValidator(_rectangle)] | None = None
    ignore_bottom: int = Field(default=0, ge=0, le=99999)
    crop_source: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printed)] | None = None
    um_per_px: float | None = Field(default=None, gt=0, le=1e6)
    scale_source: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printed)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printed)] = "grain"


NUMBERS = {
    name for name, each in Options.model_fields.items() if {int, float} & {each.annotation, *get_args(each.annotation)}
}


def shown(value: object) -> str:
    """Returns a request's value as error messages show it: short, and a container only by type.

    `repr` of a deeply nested container may run out of stack.
    """
    if isinstance(value, str):
        return repr(value[:60])
    return f"{value!r:.60}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def parse_options(given: Mapping[str, Any], defaults: Mapping[str, Any], text: bool) -> Options:
    """Checks the options of a request and completes them with the model's defaults.

    Args:
        given: options of the request; an option that is null counts as not given.
        defaults: default options of the model config.
        text: True if values are text (multipart fields), to be read as numbers where an option is a number; False if
            types must be right already.

    Returns:
        The effective options.

    Raises:
        UnknownOption: a name is not an option.
        InvalidOption: a value has the wrong type or is out of range, or two options contradict each other.
    """
    unknown = sorted(set(given) - set(Options.model_fields))
    if unknown:
        named = ", ".join(map(shown, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        raise UnknownOption(f"unknown option {named}: the options are {', '.join(Options.model_fields)}")
    said = {name: value for name, value in given.items() if value is not None}
    if text and (grouped := sorted(name for name in NUMBERS & set(said) if "_" in said[name])):
        # pydantic reads 1_0 as ten: a typing error would become a scale.
        raise InvalidOption("; ".join(f"{name}: should be a number, got {shown(said[name])}" for name in grouped))
    try:
        checked = Options.model_validate_strings(said) if text else Options.model_validate(said, strict=True)
    except ValidationError as error:
        faults = [f"{fault['loc'][0]}: {fault['msg'].lower()}, got {shown(fault['input'])}" for fault in error.errors()]
        raise InvalidOption("; ".join(faults)) from None
    options = Options.model_validate({**defaults, **checked.model_dump(exclude_unset=True)})
    if options.fill and options.mode == "masks":
        raise InvalidOption("fill: masks as they are have no gaps to close: ask for mode grains, or fill false")
    return options
