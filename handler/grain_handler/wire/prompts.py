"""The prompts of a request: read from JSON or from a mask token, and written to a token."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from grain_handler.errors import (
    BoxOutside,
    InvalidBox,
    InvalidLabels,
    InvalidMask,
    InvalidMaskToken,
    InvalidPoint,
    InvalidPrompts,
    MaskSizeMismatch,
    NoPrompts,
    PointOutside,
    RequestError,
    TooManyPrompts,
)
from grain_handler.masks import Mask, crop_to_content
from grain_handler.prompt import Earlier, Prompt
from grain_handler.wire.frame import Frame
from grain_handler.wire.mask_formats import read_rle, write_patch
from grain_handler.wire.mask_token import read_token, write_token
from grain_handler.wire.options import shown

MAX_PROMPTS = 1000
"""Largest number of prompts in a request."""
MAX_POINTS = 100
"""Largest number of points in a prompt."""
MAX_MASKS = 64
"""Largest number of prompts in a request that refine a mask. Each holds a whole mask, or repeats earlier prompts."""
MAX_EARLIER = 16
"""Largest number of prompts in a token."""

KEYS = ("points", "labels", "box", "mask", "multimask")
FARTHEST = 1e6
"""Largest absolute value of a coordinate, px. Comparing with it also rejects NaN and infinities."""


@dataclass(frozen=True)
class Subject:
    """The image and the model that prompts refer to.

    Attributes:
        frame: part of the image that is measured.
        width: width of the whole image, px.
        height: height of the whole image, px.
        digest: SHA-256 of the frame's pixels.
        checkpoint: CRC32C of the file that the decoder comes from: the prompt decoder, else the checkpoint.
    """

    frame: Frame
    width: int
    height: int
    digest: bytes
    checkpoint: str


def read_prompts(given: Any, subject: Subject) -> tuple[Prompt, ...]:
    """Reads the prompts of a request.

    Args:
        given: list of prompts, or its JSON text. Positions are in px of the whole image.
        subject: image and model that the prompts refer to.

    Returns:
        The prompts, placed in the frame.

    Raises:
        RequestError: the prompts are invalid: one of the errors imported above. Its message begins with the place, such
            as `prompts[3].box`.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise InvalidPrompts("prompts: the field is no JSON: send a list of prompts") from None
    if not isinstance(given, list):
        raise InvalidPrompts(f"prompts: should be a list of prompts, got {shown(given)}")
    if not given:
        raise NoPrompts("prompts: the list is empty: give at least one, or leave prompts out for automatic masks")
    if len(given) > MAX_PROMPTS:
        raise TooManyPrompts(f"prompts: {len(given)} were given, the limit is {MAX_PROMPTS}: send several requests")
    masks = sum(1 for each in given if isinstance(each, dict) and each.get("mask") is not None)
    if masks > MAX_MASKS:
        raise TooManyPrompts(f"prompts: {masks} of them refine a mask, the limit is {MAX_MASKS}: send several requests")
    return tuple(_prompt(each, f"prompts[{i}]", subject) for i, each in enumerate(given))


def write_mask_token(prompt: Prompt, number: int, digest: bytes, checkpoint: str) -> str:
    """Writes the token that stands for an answered mask.

    Args:
        prompt: prompt that the mask answers.
        number: index of the mask among the decoder's masks for that prompt, from 0.
        digest: SHA-256 of the frame's pixels.
        checkpoint: CRC32C of the file that the decoder comes from: the prompt decoder, else the checkpoint.
    """
    return write_token(_written(Earlier(prompt, number)), digest, checkpoint, time.time())


def _prompt(given: Any, where: str, subject: Subject) -> Prompt:
    if not isinstance(given, dict):
        raise InvalidPrompts(f"{where}: should be an object with {', '.join(KEYS)}, got {shown(given)}")
    said = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(set(said) - set(KEYS)):
        raise InvalidPrompts(f"{where}: unknown {shown(unknown[0])}: a prompt has {', '.join(KEYS)}")
    mask = _mask(said.pop("mask"), f"{where}.mask", subject) if "mask" in said else None
    return _asked(said, where, subject, mask)


def _asked(said: dict[str, Any], where: str, subject: Subject, mask: Mask | Earlier | None) -> Prompt:
    """Reads a prompt's keys other than its mask."""
    points = _points(said.get("points", []), f"{where}.points", subject)
    labels = _labels(said.get("labels"), len(points), f"{where}.labels")
    box = _box(said["box"], f"{where}.box", subject) if "box" in said else None
    if not len(points) and box is None and mask is None:
        raise InvalidPrompts(f"{where}: it asks nothing: give points, a box or a mask")
    multimask = said.get("multimask", len(points) == 1 and box is None and mask is None)
    if not isinstance(multimask, bool):
        raise InvalidPrompts(f"{where}.multimask: should be true or false, got {shown(multimask)}")
    return Prompt(points, labels, box, mask, multimask)


def _points(given: Any, where: str, subject: Subject) -> NDArray[np.float64]:
    if not isinstance(given, list) or len(given) > MAX_POINTS:
        got = f"{len(given)}" if isinstance(given, list) else shown(given)
        raise InvalidPoint(f"{where}: should be a list of up to {MAX_POINTS} points [x, y], got {got}")
    for i, point in enumerate(given):
        if not _numbers(point, 2):
            raise InvalidPoint(f"{where}[{i}]: should be two finite numbers, x and y in px")
        x, y = (value - start for value, start in zip(point, (subject.frame.x, subject.frame.y), strict=True))
        if not (0 <= x < subject.frame.width and 0 <= y < subject.frame.height):
            raise PointOutside(f"{where}[{i}]: x {point[0]:g}, y {point[1]:g} is outside {_place(subject)}")
    return np.array(given, np.float64).reshape(-1, 2) - (subject.frame.x, subject.frame.y)


def _labels(given: Any, points: int, where: str) -> NDArray[np.int64]:
    if given is None:
        return np.ones(points, np.int64)
    if not isinstance(given, list) or any(isinstance(each, bool) or each not in (0, 1) for each in given):
        raise InvalidLabels(f"{where}: should be a list of 1 (in the object) and 0 (outside it)")
    if len(given) != points:
        raise InvalidLabels(f"{where}: {len(given)} labels for {points} points: give one for each point")
    return np.array(given, np.int64)


def _box(given: Any, where: str, subject: Subject) -> NDArray[np.float64]:
    if not _numbers(given, 4):
        raise InvalidBox(f"{where}: should be four finite numbers, x0, y0, x1, y1 in px")
    x0, y0, x1, y1 = given
    if x0 >= x1 or y0 >= y1:
        raise InvalidBox(f"{where}: x0 {x0:g}, y0 {y0:g} is not above and left of x1 {x1:g}, y1 {y1:g}")
    frame = subject.frame
    if x0 < frame.x or y0 < frame.y or x1 > frame.x + frame.width or y1 > frame.y + frame.height:
        raise BoxOutside(f"{where}: {x0:g}, {y0:g}, {x1:g}, {y1:g} reaches outside {_place(subject)}")
    return np.array(given, np.float64) - (frame.x, frame.y, frame.x, frame.y)


def _mask(given: Any, where: str, subject: Subject) -> Mask | Earlier:
    if isinstance(given, str):
        if given.startswith(("iVBOR", "data:")):
            raise InvalidMask(f"{where}: pictures are not read as masks: send run lengths or a maskToken")
        try:
            asked = read_token(given, subject.digest, subject.checkpoint, time.time())
        except RequestError as error:
            raise type(error)(f"{where}: {error}") from None
        return _earlier(asked, where, subject)
    if not isinstance(given, dict):
        raise InvalidMask(f"{where}: should be run lengths (size, counts) or a maskToken, got {shown(given)}")
    return _run_lengths(given, where, subject)


def _run_lengths(given: Mapping[str, Any], where: str, subject: Subject) -> Mask:
    """Reads run lengths of the whole image, or of the part of it that lies at x and y."""
    size, counts, place = given.get("size"), given.get("counts"), [given.get("x", 0), given.get("y", 0)]
    known = set(given) <= {"size", "counts", "x", "y"}
    if not known or not isinstance(counts, str) or not _numbers(size, 2) or not _numbers(place, 2):
        raise InvalidMask(f"{where}: should be run lengths: size [height, width], counts as text, x and y of a part")
    measures = [*size, *place]
    if any(value != int(value) for value in measures):
        raise InvalidMask(f"{where}: size, x and y should be whole numbers of px")
    height, width, x, y = map(int, measures)
    whole = {"x", "y"}.isdisjoint(given) and (height, width) != (subject.height, subject.width)
    if whole or min(height, width) < 1 or min(x, y) < 0 or x + width > subject.width or y + height > subject.height:
        raise MaskSizeMismatch(
            f"{where}: {width} × {height} px at x {x}, y {y}, and the image has {subject.width} × {subject.height} px: "
            "send a mask of the image's size, or x and y of a part of it"
        )
    try:
        pixels = read_rle(counts, height, width)
    except ValueError as error:
        raise InvalidMask(f"{where}.counts: {error}") from None
    placed = Mask(x, y, pixels, 0, 0).full(subject.height, subject.width)[subject.frame.slices]
    left, top, patch = crop_to_content(placed)
    if not patch.size:
        raise InvalidMask(f"{where}: it has no pixel in {_place(subject)}")
    return Mask(left, top, patch, 0, 0)


def _earlier(asked: Any, where: str, subject: Subject) -> Earlier:
    """Reads a token's prompts, the first prompt first; their positions are in px of the frame."""
    frame = Frame(0, 0, subject.frame.width, subject.frame.height)
    subject = replace(subject, frame=frame, width=frame.width, height=frame.height)
    mask: Mask | Earlier | None = None
    try:
        if len(asked) > MAX_EARLIER:
            raise TooManyPrompts(f"{where}: it goes back {len(asked)} prompts, the limit is {MAX_EARLIER}: begin anew")
        for number, prompt in asked:
            said = dict(prompt)
            if (given := said.pop("mask", None)) is not None:
                mask = _run_lengths(given, where, subject)
            read = _asked(said, where, subject, mask)
            if type(number) is not int or number not in range(3 if read.multimask else 1):
                raise ValueError("there is no such mask")
            mask = Earlier(read, number)
    except (AttributeError, TypeError, ValueError):
        mask = None
    if not isinstance(mask, Earlier):
        raise InvalidMaskToken(f"{where}: the token is damaged: send maskToken as it was answered")
    return mask


def _written(earlier: Earlier) -> list[tuple[int, dict[str, Any]]]:
    """Writes a chain of prompts as `_earlier` reads it."""
    prompt = earlier.prompt
    said: dict[str, Any] = {"multimask": prompt.multimask}
    if len(prompt.points):
        said |= {"points": prompt.points.tolist(), "labels": prompt.labels.tolist()}
    if prompt.box is not None:
        said["box"] = prompt.box.tolist()
    if isinstance(prompt.mask, Mask):
        said["mask"] = write_patch(prompt.mask)
    return [*(_written(prompt.mask) if isinstance(prompt.mask, Earlier) else []), (earlier.number, said)]


def _numbers(given: Any, count: int) -> TypeGuard[list[float]]:
    """True for a list of `count` finite numbers."""
    if not isinstance(given, list) or len(given) != count:
        return False
    return all(
        isinstance(each, int | float) and not isinstance(each, bool) and -FARTHEST <= each <= FARTHEST for each in given
    )


def _place(subject: Subject) -> str:
    """Describes the frame for a message."""
    return f"the part of the image that is measured, {subject.frame}"
