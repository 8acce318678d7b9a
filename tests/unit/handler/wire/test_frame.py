from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from grain_handler import answer, errors
from grain_handler.masks import Mask
from grain_handler.segment import Found, Segmentation, measure
from grain_handler.storage.weights import Checkpoint
from grain_handler.wire.frame import Frame, frame_of
from grain_handler.wire.image import DecodedImage
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request, parse
from grain_handler.worker.model_config import ModelConfig
from tests.unit.handler.pictures import encoded, gradient
from tests.unit.handler.sams import WEIGHTS

IMAGE = DecodedImage(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8), "PNG", "RGB", 1)
X, Y, WIDTH, HEIGHT = 13, 7, 50, 40
CROP = f"{X},{Y},{WIDTH},{HEIGHT}"


@pytest.mark.parametrize(
    ("options", "frame"),
    [
        ({}, Frame(0, 0, 90, 60)),
        ({"crop": CROP}, Frame(X, Y, WIDTH, HEIGHT)),
        ({"crop": "0,0,90,60"}, Frame(0, 0, 90, 60)),
        ({"ignore_bottom": 59}, Frame(0, 0, 90, 1)),
        ({"crop": CROP, "ignore_bottom": 20}, Frame(X, Y, WIDTH, 33)),
        ({"crop": CROP, "ignore_bottom": 13}, Frame(X, Y, WIDTH, HEIGHT)),
    ],
)
def test_what_is_left_of_an_image(options: dict[str, Any], frame: Frame) -> None:
    assert frame_of(Options.model_validate(options), 90, 60) == frame


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"crop": "41,0,50,10"}, "crop: 41,0,50,10 ends at x 91, y 10, and the image has 90 × 60 px"),
        ({"crop": "0,1,10,60"}, "ends at x 10, y 61"),
        ({"ignore_bottom": 60}, "without the 60 rows at the bottom of 60 nothing is left"),
        ({"crop": CROP, "ignore_bottom": 53}, "nothing is left"),
    ],
)
def test_a_frame_that_does_not_fit_its_image_is_an_error_of_the_request(options: dict[str, Any], says: str) -> None:
    png = encoded(IMAGE.pixels, "PNG")
    found = parse({"image": png} | {name: str(value).encode() for name, value in options.items()}, {}, "id", {})
    assert isinstance(found, errors.InvalidOption)
    assert says in found.message


@pytest.mark.parametrize("crop", ["1,2,3", "1,2,3,4,5", "-1,2,3,4", "1,2,0,4", "1,2,3,0", "a,b,c,d", "1,2,3,4\n", ""])
def test_a_crop_is_four_numbers(crop: str) -> None:
    found = parse({"image": encoded(gradient(), "PNG"), "crop": crop.encode()}, {}, "id", {})
    assert isinstance(found, errors.InvalidOption)
    assert "x,y,width,height" in found.message


def grain(x: int, y: int, width: int, height: int) -> Mask:
    return Mask(x, y, np.ones((height, width), bool), 0.9, 1.0)


MASKS = [grain(0, 3, 9, 14), grain(20, 10, 12, 8), grain(40, 30, 10, 10)]
"""Grains in the frame's own coordinates; the frame cuts the first and the last."""


@pytest.mark.parametrize("mode", ["grains", "masks"])
def test_a_frame_measures_as_the_image_cut_to_it_and_places_in_the_whole(mode: str) -> None:
    options: dict[str, Any] = {"mode": mode, "min_area": 1, "um_per_px": 0.5, "max_area_fraction": 0.06}
    part = DecodedImage(IMAGE.pixels[Y : Y + HEIGHT, X : X + WIDTH], "PNG", "RGB", 1)
    alone = measure(Found(Request("x", part, Options.model_validate(options)), MASKS, 0.0))
    framed = measure(Found(Request("x", IMAGE, Options.model_validate(options | {"crop": CROP})), MASKS, 0.0))
    assert len(alone.masks) == 2, "the largest is over its share of the frame, not of the image"
    for mask, whole, one, other in zip(alone.masks, framed.masks, alone.properties, framed.properties, strict=True):
        assert np.array_equal(np.pad(mask.full(HEIGHT, WIDTH), ((Y, 13), (X, 27))), whole.full(60, 90))
        moved = {
            "boundingBox": one["boundingBox"] | {"x": one["boundingBox"]["x"] + X, "y": one["boundingBox"]["y"] + Y},
            "centroid": {"x": one["centroid"]["x"] + X, "y": one["centroid"]["y"] + Y},
        }
        moved["centroid_um"] = {axis: (at + 0.5) / 2 for axis, at in moved["centroid"].items()}
        assert other == one | moved
    assert [each["touchesEdge"] for each in framed.properties] == [False, True]


def metadata(**options: Any) -> dict[str, Any]:
    found = Segmentation(Request("x", IMAGE, Options.model_validate(options)), [], [], [], 0.1)
    config = cast(ModelConfig, SimpleNamespace(name="m", version="1", precision="fp32", max_answer_bytes=10**6))
    _, body = answer.render(found, config, answer.Sources(Checkpoint(WEIGHTS, "gs://w/m", "1", "AAAAAA==")))
    said: dict[str, Any] = json.loads(body)["metadata"]
    return said


def test_the_answer_says_what_was_measured() -> None:
    assert "frame" not in metadata()
    assert metadata()["warnings"] == []
    cut = metadata(ignore_bottom=10, crop_source="a databar of 10 px")
    assert (cut["frame"], cut["image"]["height"]) == ({"x": 0, "y": 0, "width": 90, "height": 50}, 60)
    assert cut["warnings"] == [
        "only 90 × 50 px at x 0, y 0 of the image's 90 × 60 px were measured (a databar of 10 px)"
    ]
    assert metadata(crop_source="no databar")["warnings"] == ["the whole image was measured (no databar)"]
