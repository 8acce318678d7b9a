from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grainserve.errors import InvalidOption
from grainserve.prompts.prompt import extended, make_prompt, make_prompts
from grainserve.results.masks import decode_mask

NOTHING: dict[str, Any] = dict.fromkeys(("points", "labels", "box", "mask", "multimask"))


def test_arrays_become_lists_and_what_is_not_given_is_left_out() -> None:
    made = make_prompt(np.array([[3, 4.5]]), np.array([1]), [np.float64(1), 2, 30, 40], multimask=False)
    assert made == {"points": [[3.0, 4.5]], "labels": [1], "box": [1.0, 2, 30, 40], "multimask": False}
    assert make_prompt(points=[(3, 4)]) == {"points": [[3, 4]]}
    assert make_prompt() == {}


def test_a_mask_of_pixels_goes_as_run_lengths_and_a_token_as_it_is() -> None:
    mask = np.zeros((7, 9), bool)
    mask[2:5, 3:8] = True
    np.testing.assert_array_equal(decode_mask(make_prompt(mask=mask)["mask"], 7, 9), mask)
    assert make_prompt(mask="ATEC-_") == {"mask": "ATEC-_"}
    with pytest.raises(InvalidOption, match=r"shape \(7, 9\) and dtype uint8; it must be H × W of bool"):
        make_prompt(mask=mask.astype(np.uint8))


@pytest.mark.parametrize("value", [float("nan"), np.inf, {3}, 1j], ids=repr)
def test_what_json_cannot_hold_is_told(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"points has .* it must hold finite numbers"):
        make_prompt(points=[[3, value]])


def test_several_prompts_take_the_place_of_one() -> None:
    several: list[dict[str, Any]] = [{"points": [(3, 4)]}, {"box": np.array([1, 2, 3, 4])}]
    assert make_prompts(several, **NOTHING) == [{"points": [[3, 4]]}, {"box": [1, 2, 3, 4]}]
    assert make_prompts(None, **NOTHING | {"points": [(3, 4)]}) == [{"points": [[3, 4]]}]
    with pytest.raises(InvalidOption, match="give either"):
        make_prompts(several, **NOTHING | {"points": [(3, 4)]})
    with pytest.raises(InvalidOption, match=r"prompts\[1\] has bbox; a prompt has points, labels, box"):
        make_prompts([several[0], {"bbox": [1, 2, 3, 4]}], **NOTHING)


@pytest.mark.parametrize(
    ("before", "more", "after"),
    [
        ({"points": [[1, 2]]}, {"points": [[3, 4]]}, {"points": [[1, 2], [3, 4]], "labels": [1, 1]}),
        (
            {"points": [[1, 2]], "multimask": True},
            {"points": [[3, 4]], "labels": [0]},
            {"points": [[1, 2], [3, 4]], "labels": [1, 0]},
        ),
        ({"box": [1, 2, 3, 4]}, {"box": [1, 2, 5, 6], "multimask": True}, {"box": [1, 2, 5, 6], "multimask": True}),
        (
            {"box": [1, 2, 3, 4]},
            {"points": [[3, 4]], "labels": [0]},
            {"box": [1, 2, 3, 4], "points": [[3, 4]], "labels": [0]},
        ),
        ({"points": [[1, 2]]}, {"mask": "token"}, {"points": [[1, 2]], "labels": [1], "mask": "token"}),
        # One label too many stays one too many, for the worker to refuse.
        ({"points": [[1, 2]]}, {"points": [[3, 4]], "labels": [0, 1]}, None),
    ],
)
def test_more_is_added_to_what_was_asked(before: dict[str, Any], more: dict[str, Any], after: Any) -> None:
    found = extended(before, more)
    if after is None:
        assert len(found["labels"]) != len(found["points"])
    else:
        assert found == after
    assert "labels" not in before
