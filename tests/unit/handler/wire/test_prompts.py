from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from grain_handler import errors
from grain_handler.masks import Mask
from grain_handler.prompt import Earlier, Prompt
from grain_handler.wire import mask_token
from grain_handler.wire.frame import Frame
from grain_handler.wire.prompts import MAX_EARLIER, Subject, read_prompts, write_mask_token
from grain_handler.wire.request import Request, parse
from tests.unit.handler.pictures import encoded, gradient

WIDTH, HEIGHT = 60, 40
DIGEST, CHECKPOINT = bytes(range(32)), "RU1VdA=="
WHOLE = Subject(Frame(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT, DIGEST, CHECKPOINT)
PART = Subject(Frame(10, 5, 20, 30), WIDTH, HEIGHT, DIGEST, CHECKPOINT)
NAN, INFINITE = float("nan"), float("inf")


def read_one(given: Any, subject: Subject = WHOLE) -> Prompt:
    (prompt,) = read_prompts([given], subject)
    return prompt


def refusal(given: Any, subject: Subject = WHOLE) -> errors.RequestError:
    with pytest.raises(errors.RequestError) as caught:
        read_prompts(given, subject)
    return caught.value


def rle(pixels: Any) -> dict[str, Any]:
    counts = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))["counts"].decode()
    return {"size": list(np.shape(pixels)), "counts": counts}


def block() -> Any:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[8:20, 15:25] = True
    return pixels


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Earlier):
        assert one.number == other.number
        assert_same(one.prompt, other.prompt)
    elif isinstance(one, Mask):
        assert (one.x, one.y) == (other.x, other.y)
        assert np.array_equal(one.patch, other.patch)
    elif isinstance(one, Prompt):
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.labels, other.labels)
        assert (one.box is None) == (other.box is None)
        assert one.box is None or np.array_equal(one.box, other.box)
        assert one.multimask == other.multimask
        assert_same(one.mask, other.mask)


def test_a_prompt_is_read() -> None:
    read = read_one({"points": [[1, 2.5], [59.9, 39]], "labels": [1, 0], "box": [0, 1, 60, 40], "multimask": True})
    assert read.points.tolist() == [[1, 2.5], [59.9, 39]]
    assert read.labels.tolist() == [1, 0]
    assert read.box is not None
    assert read.box.tolist() == [0, 1, 60, 40]
    assert read.multimask
    assert read.mask is None


def test_positions_are_those_of_the_whole_image_and_masks_are_cut_to_the_part() -> None:
    read = read_one({"points": [[12, 9]], "box": [10, 5, 30, 35], "mask": rle(block())}, PART)
    assert read.points.tolist() == [[2, 4]]
    assert read.box is not None
    assert read.box.tolist() == [0, 0, 20, 30]
    assert isinstance(read.mask, Mask)
    assert (read.mask.x, read.mask.y, read.mask.patch.shape) == (5, 3, (12, 10))
    assert read.mask.patch.all()


@pytest.mark.parametrize(
    ("given", "three"),
    [
        ({"points": [[1, 1]]}, True),
        ({"points": [[1, 1]], "labels": [1], "box": None}, True),
        ({"points": [[1, 1]], "multimask": False}, False),
        ({"points": [[1, 1], [2, 2]]}, False),
        ({"box": [1, 1, 2, 2]}, False),
        ({"points": [[1, 1]], "box": [1, 1, 2, 2]}, False),
        ({"points": [[1, 1]], "mask": rle(block())}, False),
    ],
)
def test_three_masks_are_for_a_point_alone(given: dict[str, Any], three: bool) -> None:
    read = read_one(given)
    assert read.multimask is three
    assert (read.labels == 1).all()


def test_a_mask_of_a_part_says_where_it_lies() -> None:
    read = read_one({"mask": rle(np.ones((4, 6))) | {"x": 50, "y": 30}})
    assert isinstance(read.mask, Mask)
    assert (read.mask.x, read.mask.y, read.mask.patch.shape) == (50, 30, (4, 6))


POINT: dict[str, Any] = {"points": [[1, 1]]}


@pytest.mark.parametrize(
    ("given", "code", "place"),
    [
        ([], "no_prompts", "prompts"),
        ([POINT] * 1001, "too_many_prompts", "prompts"),
        ([POINT] * 10000, "too_many_prompts", "prompts"),
        ([{"mask": rle(block())}] * 65, "too_many_prompts", "prompts"),
        ({}, "invalid_prompts", "prompts"),
        (3, "invalid_prompts", "prompts"),
        ("[", "invalid_prompts", "prompts"),
        ("[" * 100_000, "invalid_prompts", "prompts"),
        ("\ud800", "invalid_prompts", "prompts"),
        ([POINT, [1, 2]], "invalid_prompts", "prompts[1]"),
        ([{}], "invalid_prompts", "prompts[0]"),
        ([{"points": []}], "invalid_prompts", "prompts[0]"),
        ([{"labels": []}], "invalid_prompts", "prompts[0]"),
        ([POINT | {"point": 1}], "invalid_prompts", "prompts[0]"),
        ([POINT | {"multimask": 1}], "invalid_prompts", "prompts[0].multimask"),
        ([{"points": [[NAN, 1]]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": [[1, 1], [1, INFINITE]]}], "invalid_point", "prompts[0].points[1]"),
        ([{"points": [[1, 10**400]]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": [[1, True]]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": [[1, "1"]]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": [[1, 2, 3]]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": [1, 2]}], "invalid_point", "prompts[0].points[0]"),
        ([{"points": {"x": 1}}], "invalid_point", "prompts[0].points"),
        ([{"points": [[1, 1]] * 101}], "invalid_point", "prompts[0].points"),
        ([{"points": [[60, 1]]}], "point_outside", "prompts[0].points[0]"),
        ([{"points": [[1, 40]]}], "point_outside", "prompts[0].points[0]"),
        ([{"points": [[-0.5, 1]]}], "point_outside", "prompts[0].points[0]"),
        ([POINT | {"labels": [1, 0]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": []}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": [-1]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": [2]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": [True]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": [NAN]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": [[1]]}], "invalid_labels", "prompts[0].labels"),
        ([POINT | {"labels": 1}], "invalid_labels", "prompts[0].labels"),
        ([{"box": [1, 2, 3]}], "invalid_box", "prompts[0].box"),
        ([{"box": [1, 2, 3, NAN]}], "invalid_box", "prompts[0].box"),
        ([{"box": [[1, 2], [3, 4]]}], "invalid_box", "prompts[0].box"),
        ([{"box": [5, 2, 4, 9]}], "invalid_box", "prompts[0].box"),
        ([{"box": [5, 2, 9, 2]}], "invalid_box", "prompts[0].box"),
        ([{"box": [-1, 2, 9, 4]}], "box_outside", "prompts[0].box"),
        ([{"box": [0, 0, 60.5, 4]}], "box_outside", "prompts[0].box"),
        ([{"box": [0, 0, 6, 41]}], "box_outside", "prompts[0].box"),
        ([{"mask": 3}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": {}}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": {"size": [40, 60], "counts": [2400]}}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": rle(block()) | {"z": 1}}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": rle(block()) | {"x": 0.5, "y": 0}}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": rle(np.zeros((40, 60)))}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": {"size": [40, 60], "counts": "0" * 5000}}], "invalid_mask", "prompts[0].mask.counts"),
        ([{"mask": {"size": [40, 60], "counts": "PPPPPPPPPPPP1"}}], "invalid_mask", "prompts[0].mask.counts"),
        ([{"mask": {"size": [40, 60], "counts": "é"}}], "invalid_mask", "prompts[0].mask.counts"),
        ([{"mask": base64.b64encode(encoded(gradient(), "PNG")).decode()}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": "data:image/png;base64,iVBOR"}], "invalid_mask", "prompts[0].mask"),
        ([{"mask": {"size": [41, 60], "counts": "0"}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": {"size": [60, 40], "counts": "0"}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": {"size": [100000, 100000], "counts": "0"}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": {"size": [0, 0], "counts": ""}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": rle(np.ones((4, 6))) | {"x": 55, "y": 0}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": rle(np.ones((4, 6))) | {"x": -1, "y": 0}}], "mask_size_mismatch", "prompts[0].mask"),
        ([{"mask": ""}], "invalid_mask_token", "prompts[0].mask"),
        ([{"mask": "tököns"}], "invalid_mask_token", "prompts[0].mask"),
        ([{"mask": "A" * 100_000}], "invalid_mask_token", "prompts[0].mask"),
        ([{"mask": "QUJD"}], "invalid_mask_token", "prompts[0].mask"),
    ],
)
def test_each_kind_of_nonsense_has_its_own_error(given: Any, code: str, place: str) -> None:
    error = refusal(given)
    assert (error.status, error.code) == (422, code)
    assert error.message.startswith(f"{place}: ")
    assert len(error.message) < 300


def test_what_lies_in_the_image_but_not_in_the_part_is_outside() -> None:
    assert refusal([{"points": [[9, 9]]}], PART).code == "point_outside"
    assert refusal([{"box": [9, 9, 20, 20]}], PART).code == "box_outside"
    assert refusal([{"mask": rle(np.ones((4, 6))) | {"x": 50, "y": 30}}], PART).code == "invalid_mask"


CHAIN: list[dict[str, Any]] = [
    {"points": [[12, 9], [13.1, 10]], "labels": [1, 0], "multimask": True},
    {"box": [11, 6.5, 30, 35]},
    {"points": [[20, 20]]},
]


@pytest.mark.parametrize("subject", [WHOLE, PART])
@pytest.mark.parametrize("root", [{}, {"mask": rle(block())}])
def test_a_token_brings_back_what_was_asked(subject: Subject, root: dict[str, Any]) -> None:
    said, expected = CHAIN[0] | root, None
    for number, following in zip((2, 0), CHAIN[1:], strict=True):
        expected = Earlier(read_one(said, subject), number)
        token = write_mask_token(expected.prompt, number, DIGEST, CHECKPOINT)
        assert len(token) < 400
        said = following | {"mask": token}
        assert_same(read_one(said, subject).mask, expected)


def deep(steps: int) -> str:
    token = write_mask_token(read_one(POINT), 1, DIGEST, CHECKPOINT)
    for _ in range(steps - 1):
        token = write_mask_token(read_one(POINT | {"mask": token}), 0, DIGEST, CHECKPOINT)
    return token


def test_a_token_goes_back_some_prompts() -> None:
    assert isinstance(read_one({"mask": deep(MAX_EARLIER)}).mask, Earlier)
    assert refusal([{"mask": deep(MAX_EARLIER + 1)}]).code == "too_many_prompts"


@pytest.mark.parametrize(
    ("digest", "checkpoint", "age", "code"),
    [
        (DIGEST, CHECKPOINT, mask_token.SECONDS - 60, None),
        (DIGEST, CHECKPOINT, 60 - mask_token.SECONDS, None),  # another worker's clock
        (DIGEST, CHECKPOINT, mask_token.SECONDS + 60, "mask_token_expired"),
        (DIGEST, "AAAAAA==", 0, "mask_token_expired"),
        (bytes(32), CHECKPOINT, 0, "mask_token_mismatch"),
    ],
)
def test_a_token_is_of_its_image_and_checkpoint_and_of_today(
    digest: bytes, checkpoint: str, age: float, code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = write_mask_token(read_one(POINT), 1, digest, checkpoint)
    now = time.time() + age
    monkeypatch.setattr(time, "time", lambda: now)
    if code is None:
        assert isinstance(read_one({"mask": token}).mask, Earlier)
    else:
        error = refusal([{"mask": token}])
        assert error.code == code
        assert error.message.startswith("prompts[0].mask: ")


def test_a_token_with_any_letter_changed_is_damaged() -> None:
    token = write_mask_token(read_one(POINT), 1, DIGEST, CHECKPOINT)
    for i in range(0, len(token), 7):
        changed = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        assert refusal([{"mask": changed}]).code == "invalid_mask_token"
    for cut in (token[:-1], token[:20], token + "AAAA"):
        assert refusal([{"mask": cut}]).code == "invalid_mask_token"


FORGED: list[Any] = [
    None,
    3,
    [],
    "text",
    {},
    {"a": 1},
    [[0]],
    [[0, 3]],
    [[0, None]],
    [[None, POINT]],
    [[[], POINT]],
    [[3, POINT]],
    [[-1, POINT]],
    [[1.0, POINT]],
    [[True, POINT]],
    [[1, {"box": [1, 1, 2, 2]}]],  # which has one mask
]


@pytest.mark.parametrize("asked", FORGED, ids=repr)
def test_a_token_that_somebody_made_up_is_damaged(asked: Any) -> None:
    token = mask_token.write_token(asked, DIGEST, CHECKPOINT, time.time())
    assert refusal([{"mask": token}]).code == "invalid_mask_token"


def test_a_made_up_token_is_held_to_the_rules_of_prompts() -> None:
    for asked, code in (
        ([[0, {"points": [[NAN, 1]]}]], "invalid_point"),
        ([[0, {"points": [[99, 1]]}]], "point_outside"),
        ([[0, POINT | {"mask": {"size": [9, 9], "counts": "1"}}]], "mask_size_mismatch"),
    ):
        token = mask_token.write_token(asked, DIGEST, CHECKPOINT, time.time())
        assert refusal([{"mask": token}]).code == code


def test_a_token_that_swells_is_not_inflated() -> None:
    token = mask_token.write_token([" " * 40_000_000], DIGEST, CHECKPOINT, time.time())
    assert len(token) < mask_token.LONGEST
    assert refusal([{"mask": token}]).code == "invalid_mask_token"


PNG = encoded(gradient(), "PNG")


def ask(row: dict[str, Any]) -> Request | errors.RequestError:
    return parse(row, {}, "server-id", {}, CHECKPOINT)


def test_json_and_form_bring_the_same_prompts() -> None:
    given = [{"points": [[3, 4]]}, {"box": [1, 2, 3, 4]}]
    bodies = (
        {"body": {"image": base64.b64encode(PNG).decode(), "prompts": given, "crop": "1,2,20,20"}},
        {"image": PNG, "prompts": json.dumps(given).encode(), "crop": b"1,2,20,20"},
    )
    for row in bodies:
        request = ask(row)
        assert isinstance(request, Request)
        assert [each.points.tolist() for each in request.prompts] == [[[2, 2]], []]
        assert len(request.digest) == 32


def test_a_request_without_prompts_asks_for_everything() -> None:
    request = ask({"body": {"image": base64.b64encode(PNG).decode(), "prompts": None}})
    assert isinstance(request, Request)
    assert request.prompts == ()


def test_a_refused_prompt_has_its_image_id() -> None:
    error = ask({"body": {"image": base64.b64encode(PNG).decode(), "imageId": "a-1", "prompts": []}})
    assert isinstance(error, errors.NoPrompts)
    assert error.image_id == "a-1"


def test_a_token_of_one_part_is_none_of_another() -> None:
    image = {"image": base64.b64encode(PNG).decode()}
    first = ask({"body": image | {"prompts": [POINT]}})
    assert isinstance(first, Request)
    token = write_mask_token(first.prompts[0], 1, first.digest, CHECKPOINT)
    again = ask({"body": image | {"prompts": [{"mask": token}]}})
    assert isinstance(again, Request)
    other = ask({"body": image | {"prompts": [{"mask": token}], "crop": "0,0,20,20"}})
    assert isinstance(other, errors.MaskTokenMismatch)
