from __future__ import annotations

import numpy as np
import pytest

from grain_handler.masks import Mask
from grain_handler.segment import Found, mask_settings, measure
from grain_handler.wire.image import DecodedImage
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request
from tests.unit.handler.pictures import gradient

IMAGE = DecodedImage(gradient(), "PNG", "RGB", 1)


def test_a_grid_has_the_points_asked_for_whatever_the_smallest_grain() -> None:
    settings = mask_settings(Options(points_per_side=40, min_area=5000), 1024, 1024)
    assert (settings.points_per_side, settings.points) == (40, "grid")


@pytest.mark.parametrize(
    ("min_area", "side"),
    [(0, 40), (20, 40), (5027, 13)],  # a disc of 80 px: 1024 / 80 = 12.8
)
def test_adaptive_points_are_no_closer_than_the_smallest_grain_is_wide(min_area: int, side: int) -> None:
    settings = mask_settings(Options(points="adaptive", points_per_side=40, min_area=min_area), 700, 1024)
    assert (settings.points_per_side, settings.points) == (side, "adaptive")


def test_every_option_of_sam_reaches_it() -> None:
    asked = {
        "points_per_side": 7,
        "points_per_batch": 3,
        "pred_iou_thresh": 0.11,
        "stability_score_thresh": 0.12,
        "box_nms_thresh": 0.13,
        "crop_n_layers": 2,
        "min_mask_region_area": 14,
    }
    settings = mask_settings(Options.model_validate(asked), 10, 10)
    assert {name: getattr(settings, name) for name in asked} == asked


def square(x: int, y: int, side: int, iou: float) -> Mask:
    return Mask(x, y, np.ones((side, side), bool), iou, 1.0)


@pytest.mark.parametrize(("mode", "areas"), [("masks", [36, 36]), ("grains", [36])])
def test_only_grains_do_not_overlap(mode: str, areas: list[int]) -> None:
    request = Request("x", IMAGE, Options.model_validate({"mode": mode, "min_area": 1}))
    near_copies = [square(2, 2, 6, 0.9), square(2, 3, 6, 0.8)]
    assert [p["area"] for p in measure(Found(request, near_copies, 0.0)).properties] == areas


def halves(gap: int) -> list[Mask]:
    """Makes masks of the image's two halves, with a gap between them."""
    height, width = IMAGE.pixels.shape[:2]
    middle = width // 2
    left = Mask(0, 0, np.ones((height, middle), bool), 0.9, 1.0)
    return [left, Mask(middle + gap, 0, np.ones((height, width - middle - gap), bool), 0.9, 1.0)]


@pytest.mark.parametrize(("fill", "free"), [(False, 4), (True, 0)])
def test_gaps_are_closed_where_asked_before_grains_are_measured(fill: bool, free: int) -> None:
    options = Options(fill=fill, max_area_fraction=1.0)
    found = measure(Found(Request("x", IMAGE, options), halves(4), 0.0))
    height, width = IMAGE.pixels.shape[:2]
    assert sum(p["area"] for p in found.properties) == (width - free) * height
    assert [mask.area for mask in found.masks] == [p["area"] for p in found.properties]
    assert [p["boundingBox"]["x"] for p in found.properties] == [mask.x for mask in found.masks]
    assert [p["holeArea"] for p in found.properties] == [0, 0]


def test_an_empty_mask_is_no_object() -> None:
    request = Request("x", IMAGE, Options(mode="masks", min_area=0))
    nothing = Mask(0, 0, np.zeros((0, 0), bool), 0.9, float("nan"))
    assert measure(Found(request, [nothing], 0.0)).masks == []
