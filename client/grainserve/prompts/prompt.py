"""Prompts as requests have them, made from the lists, arrays and masks that callers have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidOption
from grainserve.results.masks import encode_rle, window_of

Prompt: TypeAlias = dict[str, Any]
Points: TypeAlias = Sequence[Sequence[float]] | NDArray[Any]
MaskPrompt: TypeAlias = str | Mapping[str, Any] | NDArray[np.bool_]


def make_prompt(
    points: Points | None = None,
    labels: Sequence[int] | NDArray[Any] | None = None,
    box: Sequence[float] | NDArray[Any] | None = None,
    mask: MaskPrompt | None = None,
    multimask: bool | None = None,
) -> Prompt:
    """Makes one prompt. Whether it can be asked about the image is for the worker to say.

    Args:
        points: n points (x, y), px of the image as submitted, upright.
        labels: n labels: 1 for a point in the object, 0 for one outside it; None: all are in it.
        box: (x0, y0, x1, y1), px, half-open.
        mask: mask to refine: its token (`Grain.mask_token`), run lengths (`Grain.mask`), or H × W, bool.
        multimask: whether to ask for three masks; None: only for a single point.

    Raises:
        InvalidOption: a value is not finite, or nothing that JSON can hold.
    """
    if isinstance(mask, np.ndarray):
        mask = _run_lengths(mask)
    given = {"points": points, "labels": labels, "box": box, "mask": mask, "multimask": multimask}
    return {name: _plain(value, name) for name, value in given.items() if value is not None}


def make_prompts(prompts: Sequence[Mapping[str, Any]] | None, **one: Any) -> list[Prompt]:
    """Makes the prompts of a request: several, or the one whose parts are given by themselves.

    Args:
        prompts: prompts, each with arguments of `make_prompt` by name; None where one is given.
        **one: arguments of `make_prompt`.

    Raises:
        InvalidOption: both are given, or a prompt has an unknown key; or as `make_prompt`.
    """
    if prompts is None:
        return [make_prompt(**one)]
    if any(value is not None for value in one.values()):
        raise InvalidOption(f"prompts are given, and {' and '.join(one)} beside them: give either")
    for index, each in enumerate(prompts):
        if unknown := set(each) - set(one):
            raise InvalidOption(f"prompts[{index}] has {', '.join(map(str, unknown))}; a prompt has {', '.join(one)}")
    return [make_prompt(**each) for each in prompts]


def extended(prompt: Prompt, more: Prompt) -> Prompt:
    """Adds to what was asked about an object: points are added, box and mask take the place of earlier ones.

    `multimask` is that of `more` alone: three masks are for an object about which little is said.

    Args:
        prompt: what was asked so far.
        more: what is asked, too.
    """
    asked = {**prompt, **more}
    asked["points"] = [*prompt.get("points", ()), *more.get("points", ())]
    asked["labels"] = [*_labels(prompt), *_labels(more)]
    if "multimask" not in more:
        asked.pop("multimask", None)
    return {name: value for name, value in asked.items() if value != []}


def _labels(prompt: Prompt) -> list[int]:
    return list(prompt.get("labels", [1] * len(prompt.get("points", ()))))


def _run_lengths(mask: NDArray[Any]) -> dict[str, Any]:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InvalidOption(f"mask is an array of shape {mask.shape} and dtype {mask.dtype}; it must be H × W of bool")
    return encode_rle(window_of(mask), *mask.shape)


def _plain(value: Any, name: str) -> Any:
    """Returns a value as JSON has it: arrays become lists, NumPy's numbers Python's."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each, name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, name) for each in value]
    if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidOption(f"{name} has {value!r:.64}; it must hold finite numbers")
    return value
