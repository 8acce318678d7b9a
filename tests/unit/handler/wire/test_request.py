from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from grain_handler import errors
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request, parse
from tests.unit.handler.pictures import encoded, gradient

PNG = encoded(gradient(), "PNG")
BASE64 = base64.b64encode(PNG).decode()
DEFAULTS = {"pred_iou_thresh": 0.4}


def read(row: dict[str, Any], **headers: str) -> Request | errors.RequestError:
    return parse(row, {name.replace("_", "-"): value for name, value in headers.items()}, "server-id", DEFAULTS)


@pytest.mark.parametrize(
    "row",
    [
        {"body": bytearray(PNG)},
        {"data": PNG},
        {"body": {"image": BASE64}},
        {"body": {"image": BASE64 + "\n", "points_per_side": None}},
        {"image": bytearray(PNG)},
    ],
)
def test_all_ways_to_send_an_image(row: dict[str, Any]) -> None:
    request = read(row)
    assert isinstance(request, Request)
    assert (request.image.pixels == gradient()).all()
    assert request.image_id == "server-id"
    assert request.options == Options(pred_iou_thresh=0.4)


def test_options_and_image_id_in_json_and_form_are_the_same() -> None:
    options = {"points_per_side": 8, "um_per_px": 0.5, "label": "12", "mask_format": "none", "imageId": "a-1"}
    from_json = read({"body": {"image": BASE64, **options}})
    from_form = read({"image": PNG} | {name: str(value).encode() for name, value in options.items()})
    assert isinstance(from_json, Request)
    assert isinstance(from_form, Request)
    assert from_json.options == from_form.options
    assert from_json.image_id == from_form.image_id == "a-1"
    assert from_json.options.label == "12"
    assert from_json.options.pred_iou_thresh == 0.4


@pytest.mark.parametrize("field", ["image", "body", "data"])
@pytest.mark.parametrize("options", [{"um_per_px": 2.5}, {"imageId": "a-1"}, {"label": "12", "imageId": "a-1"}])
def test_options_beside_the_image_are_honoured_whatever_its_field_is_called(
    field: str, options: dict[str, Any]
) -> None:
    request = read({field: bytearray(PNG)} | {name: str(value).encode() for name, value in options.items()})
    assert isinstance(request, Request)
    assert (request.image.pixels == gradient()).all()
    assert request.options == Options(
        pred_iou_thresh=0.4, **{name: value for name, value in options.items() if name != "imageId"}
    )
    assert request.image_id == options.get("imageId", "server-id")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"data": PNG, "body": PNG}, "'data'"),
        ({"image": PNG, "data": PNG}, "'data'"),
        ({"image": PNG, "body": b"text"}, "'body'"),
        ({"body": {"image": BASE64}, "um_per_px": b"2.5"}, "'um_per_px'"),
        ({"data": PNG, "pionts_per_side": b"8"}, "'pionts_per_side'"),
        ({"data": PNG, "um_per_px": b"many"}, "um_per_px"),
    ],
)
def test_what_cannot_be_honoured_is_named_not_dropped(row: dict[str, Any], named: str) -> None:
    answer = read(row)
    assert isinstance(answer, errors.RequestError)
    assert named in answer.message


def test_a_forms_boundary_is_no_content_type() -> None:
    assert isinstance(read({"data": PNG}, Content_Type="multipart/form-data; boundary=aJsoN"), Request)


@pytest.mark.parametrize(
    "encoded",
    [
        base64.encodebytes(PNG).decode(),
        base64.encodebytes(PNG).decode().replace("\n", "\r\n\t "),
        "data:image/png;base64," + BASE64,
        "Data:;charset=utf-8;BASE64," + base64.encodebytes(PNG).decode(),
    ],
    ids=["wrapped", "wrapped on Windows", "data URI", "wrapped data URI"],
)
def test_base64_may_be_wrapped_or_a_data_uri(encoded: str) -> None:
    given = read({"body": {"image": encoded}})
    plain = read({"body": {"image": BASE64}})
    assert isinstance(given, Request)
    assert isinstance(plain, Request)
    assert given.image.bytes == len(PNG)
    assert (given.image.pixels == plain.image.pixels).all()


@pytest.mark.parametrize(
    ("row", "headers", "error"),
    [
        ({"body": bytearray(b"{oops")}, {"CONTENT_type": "application/json"}, errors.InvalidJson),
        ({"body": [1, 2]}, {"Content_Type": "application/json"}, errors.InvalidJson),
        ({"body": {"image": "not base64!"}}, {}, errors.InvalidBase64),
        ({"body": {"image": "data:image/png," + BASE64}}, {}, errors.InvalidBase64),
        ({"body": {"image": "é" + BASE64}}, {}, errors.InvalidBase64),
        ({"body": {"image": 7}}, {}, errors.InvalidBase64),
        ({"body": {"label": "sand"}}, {}, errors.MissingImage),
        ({"body": {"image": ""}}, {}, errors.EmptyBody),
        ({"label": b"sand"}, {}, errors.MissingImage),
        ({"body": b""}, {}, errors.EmptyBody),
        ({"body": ""}, {"Content_Type": "text/plain"}, errors.EmptyBody),
        ({"body": "some text"}, {"Content_Type": "text/plain"}, errors.NotAnImage),
        ({"image": PNG, "label": b"\xff\xfe"}, {}, errors.InvalidOption),
        ({"body": {"image": BASE64, "imageId": "../x"}}, {}, errors.InvalidOption),
        ({"body": {"image": BASE64, "imageId": 5}}, {}, errors.InvalidOption),
        ({"body": PNG}, {"explain": "True"}, errors.ExplanationsUnsupported),
    ],
)
def test_what_is_wrong_is_said(row: dict[str, Any], headers: dict[str, str], error: type[errors.RequestError]) -> None:
    answer = read(row, **headers)
    assert type(answer) is error
    assert answer.message


DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"body": {"image": "é" + BASE64}}, errors.InvalidBase64),
        # A part of a form that says it is JSON arrives as its value: bytes(10**10) would be ten gigabytes.
        ({"image": 10**10}, errors.InvalidOption),
        ({"image": [1, 2]}, errors.InvalidOption),
        ({"image": "text"}, errors.NotAnImage),
        ({"image": PNG, "label": {"a": 1}}, errors.InvalidOption),
        ({"image": PNG, "label": None}, errors.InvalidOption),
        ({"body": 10**10}, errors.InvalidJson),
        ({"body": 1.5}, errors.InvalidJson),
        ({"image": PNG, "\ud800": b"\xff"}, errors.InvalidOption),
        ({"body": {"image": BASE64, "label": DEEP}}, errors.InvalidOption),
        ({"body": {"image": BASE64, "imageId": DEEP}}, errors.InvalidOption),
    ],
)
def test_values_of_kinds_that_nobody_sends_are_refused(row: dict[str, Any], error: type[errors.RequestError]) -> None:
    answer = nearly_out_of_stack(lambda: read(row))
    assert type(answer) is error
    answer.message.encode()


def nearly_out_of_stack(call: Callable[[], object], frames: int = 45) -> Any:
    return nearly_out_of_stack(call, frames - 1) if frames else call()


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "options",
    [{LONG: 1}, {f"{number}": 1 for number in range(10_000)}, {"label": LONG}, {"imageId": LONG}, {"mode": [LONG]},
     {"min_area": 10**4000}],
)  # fmt: skip
def test_a_refusal_is_short_whatever_was_sent(options: dict[str, Any]) -> None:
    answer = read({"body": {"image": BASE64, **options}})
    assert isinstance(answer, errors.RequestError)
    assert len(answer.message) < 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_per_side", 0),
        ("points_per_side", 129),
        ("points_per_side", 3.5),
        ("points_per_side", "8"),
        ("points_per_side", True),
        ("points_per_batch", 1025),
        ("pred_iou_thresh", -0.1),
        ("pred_iou_thresh", float("nan")),
        ("stability_score_thresh", 1.1),
        ("box_nms_thresh", float("inf")),
        ("crop_n_layers", 3),
        ("min_area", -1),
        ("max_area_fraction", 0),
        ("mode", "grain"),
        ("mask_format", "jpeg"),
        ("um_per_px", 0),
        ("um_per_px", json.loads("NaN")),
        ("label", ""),
        ("label", "x" * 65),
        ("fill", 1),
        ("fill", "true"),
    ],
)
def test_options_out_of_range_are_named(name: str, value: Any) -> None:
    answer = read({"body": {"image": BASE64, name: value}})
    assert isinstance(answer, errors.InvalidOption)
    assert name in answer.message


def test_fill_is_a_truth_value_and_of_grains_alone() -> None:
    for row in ({"image": PNG, "fill": b"true"}, {"body": {"image": BASE64, "fill": True}}):
        answer = read(row)
        assert isinstance(answer, Request)
        assert answer.options.fill is True
    refusal = read({"image": PNG, "fill": b"true", "mode": b"masks"})
    assert isinstance(refusal, errors.InvalidOption)
    assert "ask for mode grains" in refusal.message


@pytest.mark.parametrize("text", ["nan", "inf", "many", "1e9", ""])
def test_form_fields_that_are_no_number_are_named(text: str) -> None:
    answer = read({"image": PNG, "um_per_px": text.encode()})
    assert isinstance(answer, errors.InvalidOption)
    assert "um_per_px" in answer.message


def test_unknown_option_lists_the_known() -> None:
    answer = read({"body": {"image": BASE64, "pionts_per_side": 8}})
    assert isinstance(answer, errors.UnknownOption)
    assert "pionts_per_side" in answer.message
    assert "points_per_side" in answer.message


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736", None),
        ("[METRICS]x", None),
        ("", None),
    ],
)
def test_a_trace_is_known_by_its_header_in_any_case(given: str, found: str | None) -> None:
    for name in ("traceparent", "Traceparent"):
        request = read({"image": PNG}, **{name: given})
        assert isinstance(request, Request)
        assert request.trace_id == found


def test_a_refusal_does_not_hold_on_to_its_request() -> None:
    for row in ({"body": {"image": "!" * 9}}, {"body": PNG[:60]}, {"image": PNG, "points": b"x"}):
        refusal = parse(row, {}, "request-0", {})
        assert isinstance(refusal, errors.RequestError)
        assert refusal.__traceback__ is None
        assert refusal.__context__ is None
