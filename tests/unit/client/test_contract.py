from __future__ import annotations

import copy
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from grainserve.contract import (
    check_image_id,
    options_from_text,
    schema,
    validate_error,
    validate_options,
    validate_result,
)
from grainserve.errors import InvalidImageId, InvalidOption, InvalidResult
from grainserve.result import Result
from tests.unit.client.made import make_result

NUMBERS = {
    "points_per_side": (1, 128),
    "points_per_batch": (1, 1024),
    "pred_iou_thresh": (0, 1),
    "stability_score_thresh": (0, 1),
    "box_nms_thresh": (0, 1),
    "crop_n_layers": (0, 2),
    "min_mask_region_area": (0, 1048576),
    "min_area": (0, 1048576),
    "max_area_fraction": (1e-9, 1),
    "um_per_px": (1e-9, 1_000_000),
}
INTEGERS = {"points_per_side", "points_per_batch", "crop_n_layers", "min_mask_region_area", "min_area"}


@pytest.mark.parametrize("name", ["options", "result", "error"])
def test_schemas_are_valid_schemas(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", NUMBERS)
def test_both_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(name: str) -> None:
    low, high = NUMBERS[name]
    assert validate_options({name: low}) == {name: low}
    assert validate_options({name: high}) == {name: high}
    for beyond in (-1e-9 if low < 1 else 0, high + 1, -1):
        with pytest.raises(InvalidOption, match=name):
            validate_options({name: beyond})


@pytest.mark.parametrize("name", ["max_area_fraction", "um_per_px"])
def test_zero_is_out_of_an_open_range(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name} is 0; it must be a number over 0 and up to"):
        validate_options({name: 0})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, [1], np.float64("nan")], ids=repr)
def test_what_is_no_finite_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=name):
        validate_options({name: value})


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_integers_stay_integers(name: str) -> None:
    with pytest.raises(InvalidOption, match="an integer from"):
        validate_options({name: 1.5})
    checked = validate_options({name: 1.0})
    assert type(checked[name]) is int


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "grain"}, "'grains' or 'masks'"),
        ({"mask_format": "RLE"}, "'rle' or 'png' or 'polygon' or 'none'"),
        ({"label": ""}, "1 to 64 characters"),
        ({"label": "x" * 65}, "1 to 64 characters"),
        ({"label": 3}, "a text"),
        ({"fill": 1}, "true or false"),
        ({"points_per_sides": 3}, "did you mean 'points_per_side'"),
        ({"qqqq": 3}, "there are points, points_per_side"),
        ({"image": "x"}, "unknown option"),
    ],
)
def test_messages_name_what_is_allowed(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        validate_options(options)


def test_none_is_not_given_and_numpy_scalars_are_numbers() -> None:
    checked = validate_options({"um_per_px": np.float32(0.5), "min_area": np.int64(3), "label": None})
    assert checked == {"um_per_px": 0.5, "min_area": 3}
    assert [type(value) for value in checked.values()] == [float, int]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_a_truth_value_may_come_as_text(text: str, value: bool) -> None:
    assert options_from_text({"fill": text, "label": text}) == {"fill": value, "label": text}
    with pytest.raises(InvalidOption, match="fill is 'yes'; it must be true or false"):
        options_from_text({"fill": "yes"})


@given(
    st.dictionaries(
        st.sampled_from(sorted(schema("options")["properties"])) | st.text(max_size=30),
        st.none() | st.booleans() | st.floats() | st.text(),
        max_size=3,
    )
)
def test_whatever_is_given_either_passes_the_schema_or_is_refused_in_words(options: dict[str, object]) -> None:
    allowed = Draft202012Validator(schema("options")).is_valid(options)
    finite = not any(isinstance(value, float) and not math.isfinite(value) for value in options.values())
    if allowed and finite:
        assert validate_options(options) == {name: value for name, value in options.items() if value is not None}
    else:
        with pytest.raises(InvalidOption):
            validate_options(options)


@pytest.mark.parametrize("image_id", ["a", "A-b_9", "x" * 128])
def test_image_ids(image_id: str) -> None:
    assert check_image_id(image_id) == image_id


@pytest.mark.parametrize("image_id", ["", "x" * 129, "a/b", "..", "a\n", "é", None, 3])
def test_other_image_ids_are_refused(image_id: object) -> None:
    with pytest.raises(InvalidImageId):
        check_image_id(image_id)


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon", "none"])
@pytest.mark.parametrize("um_per_px", [None, 2.5])
def test_results_of_every_format_pass(mask_format: str, um_per_px: float | None) -> None:
    validate_result(make_result(mask_format=mask_format, um_per_px=um_per_px))
    validate_result(make_result(mask_format=mask_format, um_per_px=um_per_px, masks=[]))


def _grain(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda result: change(result["segmentedObjects"][0])


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "extra key": lambda result: result.update(extra=1),
    "no metadata": lambda result: result.pop("metadata"),
    "extra metadata": lambda result: result["metadata"].update(extra=1),
    "timestamp with offset": lambda result: result["metadata"].update(timestamp="2026-11-21T04:05:06+01:00"),
    "option missing": lambda result: result["metadata"]["options"].pop("label"),
    "option out of range": lambda result: result["metadata"]["options"].update(points_per_side=0),
    "crc32c of 3 bytes": lambda result: result["metadata"]["checkpoint"].update(crc32c="AAAA"),
    "too wide": lambda result: result["metadata"]["image"].update(width=1025),
    "unit": lambda result: result["metadata"]["units"].update(length="mm"),
    "NaN": _grain(lambda grain: grain["properties"].update(perimeter=math.nan)),
    "id 0": _grain(lambda grain: grain.update(id=0)),
    "score": _grain(lambda grain: grain.update(score=1.1)),
    "mask": _grain(lambda grain: grain.update(mask=3)),
    "mask not PNG": _grain(lambda grain: grain.update(mask="AAAA")),
    "float box": _grain(lambda grain: grain["properties"]["boundingBox"].update(x=0.5)),
    "property missing": _grain(lambda grain: grain["properties"].pop("solidity")),
    "property extra": _grain(lambda grain: grain["properties"].update(mineral="quartz")),
    "orientation -90": _grain(lambda grain: grain["properties"].update(orientation=-90)),
    "orientation from x 180": _grain(lambda grain: grain["properties"].update(orientationFromX=180)),
    "two channels": _grain(lambda grain: grain["properties"].update(meanIntensity=[1, 2])),
    "one twin": _grain(lambda grain: grain["properties"].update(perimeter_um=1.0)),
    "null area": _grain(lambda grain: grain["properties"].update(area=None)),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_result_that_breaks_the_contract_is_refused(name: str) -> None:
    result = copy.deepcopy(make_result())
    BREAKS[name](result)
    with pytest.raises(InvalidResult):
        validate_result(result)


def test_null_is_allowed_where_a_grain_has_no_such_measure() -> None:
    result = make_result()
    result["segmentedObjects"][0]["properties"] |= {"orientationFromX": None, "eccentricity": None, "feretMin": None}
    validate_result(result)


def test_a_worker_of_before_there_were_deviations_still_answers() -> None:
    result = make_result(um_per_px=2.5)
    for grain in result["segmentedObjects"]:
        del grain["properties"]["intensityStd"], grain["properties"]["centroid_um"]
    validate_result(result)
    assert Result(result).to_dataframe()["intensityStd_r"].isna().all()


def test_error_objects() -> None:
    validate_error({"error": {"code": "image_too_large", "message": "over 1024 px"}})
    for broken in ({"error": {"code": "whatever", "message": "x"}}, {"error": {"code": "internal_error"}}, {}):
        with pytest.raises(InvalidResult):
            validate_error(broken)


def test_ten_thousand_faults_are_no_ten_thousand_errors() -> None:
    """Each error would take some KiB, while the answer takes only two bytes for each fault."""
    result = make_result()
    result["segmentedObjects"] = [1] * 10_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidResult, match=r"\$\.segmentedObjects\[0\]"):
            validate_result(result)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**19
