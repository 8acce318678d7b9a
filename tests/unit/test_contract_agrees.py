"""Client and handler share no code; these tests compare what both must know."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image
from pydantic import ValidationError

from grain_handler import errors
from grain_handler.grains.measure import measure_labels
from grain_handler.reading import picture as handlers_reading
from grain_handler.wire import frame as handlers
from grain_handler.wire import image as handlers_image
from grain_handler.wire import mask_token, prompts
from grain_handler.wire.options import Options, parse_options
from grainserve import images
from grainserve.contract import options_from_text, validate_options
from grainserve.errors import InvalidOption
from grainserve.reading import picture as clients_reading
from grainserve.results import frame as clients


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(resources.files("grainserve").joinpath("schemas", name).read_text())
    return loaded


def limits(option: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema's limits of one option, without null and descriptions."""
    kept = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "minLength", "maxLength")
    said: dict[str, Any] = {}
    for part in (option, *option.get("anyOf", [])):
        said |= {key: part[key] for key in kept if key in part and part[key] != "null"}
    if isinstance(said.get("type"), list):
        (said["type"],) = [kind for kind in said["type"] if kind != "null"]
    if "enum" in said:
        said["enum"] = sorted(value for value in said["enum"] if value is not None)
    return said


def test_both_take_images_of_the_same_side_and_the_same_formats() -> None:
    assert images.MAX_SIDE == handlers_image.MAX_SIDE
    assert clients_reading.READ == handlers_reading.READ
    read = {*clients_reading.READ.values(), "WEBP"}
    assert {Image.registered_extensions()[ending] for ending in images.ENDINGS} == read


def test_both_know_the_same_options() -> None:
    assert set(schema("options.schema.json")["properties"]) == set(Options.model_fields)


@pytest.mark.parametrize("name", Options.model_fields)
def test_an_option_has_the_same_limits_on_both_sides(name: str) -> None:
    ours = limits(Options.model_json_schema()["properties"][name])
    theirs = limits(schema("options.schema.json")["properties"][name])
    assert theirs == ours


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1f", "\x7f", "\x9f", "\u2028", "\u2029", "\ud800"])
@pytest.mark.parametrize("name", ["label", "scale_source", "crop_source"])
def test_both_refuse_a_text_with_a_control_character(name: str, character: str) -> None:
    with pytest.raises(InvalidOption):
        validate_options({name: f"quartz{character}"})
    with pytest.raises(ValidationError):
        Options.model_validate({name: f"quartz{character}"})


@pytest.mark.parametrize("text", ["1_0", "1_0.5", "1e5_0", "１０", " １", "٣", "0x1", "ten", "infinity", "nan"])
@pytest.mark.parametrize("name", ["um_per_px", "min_area", "crop_n_layers", "pred_iou_thresh"])
def test_both_refuse_a_number_that_only_a_programmer_would_write(name: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=name):
        options_from_text({name: text})
    with pytest.raises(errors.InvalidOption, match=name):
        parse_options({name: text}, {}, text=True)
    with pytest.raises(InvalidOption, match=name):
        validate_options({name: text})
    with pytest.raises(errors.InvalidOption, match=name):
        parse_options({name: text}, {}, text=False)


@pytest.mark.parametrize("text", ["10", " 10 ", "+10", "010"])
@pytest.mark.parametrize("name", ["um_per_px", "min_area"])
def test_both_read_a_number_as_people_write_it(name: str, text: str) -> None:
    assert options_from_text({name: text}) == {name: 10}
    assert getattr(parse_options({name: text}, {}, text=True), name) == 10


@pytest.mark.parametrize("label", ["quartz", "K-feldspar (or?) 2", "é", "石英\u3000粒", "\u00a0"])
def test_both_take_any_other_label(label: str) -> None:
    assert validate_options({"label": label}) == {"label": label}
    assert Options(label=label).label == label


@pytest.mark.parametrize(
    ("crop", "taken"),
    [
        ("0,0,1,1", True),
        ("99999,99999,99999,99999", True),
        ("1,2,3", False),
        ("1,2,0,4", False),
        ("1,2,3,0", False),
        ("1,2,3,4,5", False),
        ("1, 2, 3, 4", False),
        ("-1,2,3,4", False),
        ("100000,2,3,4", False),
        ("1,2,3,4\n", False),
        ("１,2,3,4", False),
        ("", False),
    ],
)
def test_both_take_the_same_crops(crop: str, taken: bool) -> None:
    try:
        clients_answer = validate_options({"crop": crop}) == {"crop": crop}
    except InvalidOption:
        clients_answer = False
    try:
        handlers_answer = Options.model_validate({"crop": crop}).crop == crop
    except ValidationError:
        handlers_answer = False
    assert clients_answer == handlers_answer == taken


@given(
    crop=st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.integers(1, 60)),
    bottom=st.integers(0, 60),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    source=st.none() | st.just("given"),
)
def test_both_measure_the_same_frame(
    crop: tuple[int, ...] | None, bottom: int, size: tuple[int, int], source: str | None
) -> None:
    """The handler's frame is within one job's image, the client's within an image that it cuts into tiles."""
    given_options = {"crop": crop and ",".join(map(str, crop)), "ignore_bottom": bottom, "crop_source": source}
    options = Options.model_validate(given_options)

    def by_handler() -> object:
        try:
            frame = handlers.frame_of(options, *size)
        except errors.InvalidOption as error:
            return str(error)
        return vars(frame), handlers.said_of(frame, options, *size)

    def by_client() -> object:
        try:
            frame = clients.frame_of(given_options, *size)
        except InvalidOption as error:
            return str(error)
        return vars(frame), clients.said_of(frame, given_options, *size)

    assert by_client() == by_handler()


def test_the_schema_of_prompts_says_what_the_worker_takes() -> None:
    said = schema("prompts.schema.json")
    prompt = said["$defs"]["prompt"]["properties"]
    assert set(prompt) == set(prompts.KEYS)
    assert said["maxItems"] == schema("result.schema.json")["properties"]["prompts"]["maxItems"] == prompts.MAX_PROMPTS
    assert prompt["points"]["maxItems"] == prompt["labels"]["maxItems"] == prompts.MAX_POINTS
    assert f"up to {prompts.MAX_MASKS} prompts" in prompt["mask"]["description"]
    answered = schema("result.schema.json")["$defs"]["grain"]["properties"]["maskToken"]
    assert prompt["mask"]["oneOf"][0]["maxLength"] == answered["maxLength"] == mask_token.LONGEST


def test_the_client_knows_every_error_code() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    text = json.dumps(schema("error.schema.json"))
    assert all(f'"{code}"' in text for code in codes)


@pytest.mark.parametrize("um_per_px", [None, 2.5])
def test_the_result_schema_has_every_measurement_and_says_what_it_is(um_per_px: float | None) -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[0, 0], labels[2:5, 2:8] = 1, 2
    whole = schema("result.schema.json")
    properties = whole["$defs"]["properties"]
    check = Draft202012Validator({"$ref": "#/$defs/properties", "$defs": whole["$defs"]})
    known = {name for name in properties["properties"] if um_per_px or "_um" not in name}
    for measured in measure_labels(labels, np.zeros((9, 9, 3), np.uint8), [0, 0], um_per_px):
        assert list(measured) == [name for name in properties["properties"] if name in known]
        check.validate(measured)
    assert all(each["description"] for each in properties["properties"].values())
