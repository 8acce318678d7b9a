"""Reads requests with prompts: a form or JSON → questions, each about one image.

The worker checks the prompts themselves and has an error for each fault. Here they are only taken from the request,
within bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from grainserve.admission import check_header
from grainserve.contract import check_image_id, options_from_text, validate_options
from grainserve.errors import ImageRejected, InvalidOption
from grainserve.gateway import bodies
from grainserve.gateway.bodies import Body
from grainserve.gateway.uploads import check_size

PROMPT_BYTES = 4 * 2**20
"""Bytes that a request may hold beside its images: 64 of the longest mask tokens."""
PARTS = 100_000
"""Values that the JSON of a request may hold: 1,000 prompts of 24 points with labels."""
MOST_ITEMS = 64
"""Most items of a batch."""
FILES = ("file", "image")
"""Names of a form's file."""
SOURCES = ("image", "imageId", "imageDigest")
POINTED = {"point_coords": "points", "point_labels": "labels", "box": "box", "multimask": "multimask"}
"""A prompt's key by the field of a form that asks one prompt."""


class Form(StrEnum):
    """A form of answers.

    Attributes:
        MASKS: each mask as a PNG of the whole image, and its score.
        MEASURED: the worker's result.
    """

    MASKS = "masks"
    MEASURED = "measured"


@dataclass(frozen=True)
class Question:
    """Prompts about one image. The image is named in one of three ways.

    Attributes:
        prompts: prompts, as JSON values; the worker checks them.
        options: checked options.
        variant: variant that should answer; None for the default one.
        image: bytes of the image file.
        image_id: id of an uploaded image.
        digest: digest of an image that the workers may keep.
    """

    prompts: list[Any]
    options: dict[str, Any]
    variant: str | None
    image: bytes | None = None
    image_id: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request that has been read as far as it concerns all of its items.

    Attributes:
        form: form of the answer that the body asks for; None where it says nothing.
        usual: form of the answer where the request asks for none.
        items: what each item says, for `question`.
    """

    form: Form | None
    usual: Form
    items: list[Any]


def one(body: Body) -> Asked:
    """Reads a request about one image.

    Raises:
        ImageRejected, InvalidOption: the body cannot be read.
    """
    if body.kind == bodies.FORM:
        given = _fields(body) | ({"image": body.files[0][1]} if body.files else {})
    else:
        given = _object(body)
    return Asked(_form(given.pop("format", None)), _usual(body), [given])


def several(body: Body) -> Asked:
    """Reads a request about several images: JSON with `items`, or a form with files and a list of prompts for each.

    Raises:
        ImageRejected, InvalidOption: the body cannot be read, or has no items, or too many.
    """
    if body.kind == bodies.FORM:
        given = _fields(body)
        form, lists = _form(given.pop("format", None)), given.pop("prompts", None)
        if not isinstance(lists, list) or len(lists) != len(body.files):
            raise ImageRejected(
                422, "invalid_prompts", f"prompts: should be a list of {len(body.files)} lists, one for each file"
            )
        items = [{**given, "image": file, "prompts": each} for (_, file), each in zip(body.files, lists, strict=True)]
    else:
        given = _object(body)
        form, items = _form(given.pop("format", None)), given.pop("items", None)
        if given:
            raise InvalidOption(
                f"{next(iter(given))[:64]!r}: a batch has items and format; all else is each item's own"
            )
        if not isinstance(items, list):
            raise ImageRejected(422, "invalid_items", "items: should be a list, each like a request to /segment")
    if not 0 < len(items) <= MOST_ITEMS:
        raise ImageRejected(422, "invalid_items", f"there are {len(items)} items: send 1 to {MOST_ITEMS}")
    return Asked(form, _usual(body), items)


def question(item: Any, max_bytes: int) -> Question:
    """Reads what one item asks, and checks its image's header.

    Args:
        item: values by name: the image, prompts, options.
        max_bytes: size of the largest image, bytes.

    Raises:
        ImageRejected: the image is missing or cannot be measured, or there are no prompts.
        InvalidOption: an option is unknown or out of range, or the image is named in two ways.
        InvalidImageId: the image id is none.
    """
    if not isinstance(item, dict):
        raise ImageRejected(422, "invalid_items", "an item should be an object with an image and prompts")
    given = {name: value for name, value in item.items() if value is not None}
    source = [name for name in SOURCES if name in given]
    if len(source) != 1:
        raise ImageRejected(
            400 if not source else 422,
            "missing_image" if not source else "several_images",
            f"name the image in one way: a file, {', '.join(SOURCES[:-1])} or {SOURCES[-1]}",
        )
    (name,) = source
    named, variant, prompts = given.pop(name), given.pop("model_type", None), _prompts(given)
    if not isinstance(variant, str | None):
        raise InvalidOption("model_type: should be the name of a variant")
    options = validate_options(given)
    if name == "imageId":
        return Question(prompts, options, variant, image_id=check_image_id(named))
    if not isinstance(named, str | bytes):
        raise InvalidOption(f"{name}: should be a text")
    if name == "imageDigest":
        return Question(prompts, options, variant, digest=str(named))
    image = bodies.from_base64(named) if isinstance(named, str) else named
    check_size(image, max_bytes)
    check_header(image)
    return Question(prompts, options, variant, image=image)


def _object(body: Body) -> dict[str, Any]:
    if body.kind != bodies.JSON:
        raise ImageRejected(415, "unsupported_body", "send a form (multipart/form-data) or application/json")
    given = bodies.parse(body.content, PARTS)
    if not isinstance(given, dict):
        raise ImageRejected(400, "invalid_json", "the body is no JSON object")
    return given


def _fields(body: Body) -> dict[str, Any]:
    """Reads a form's fields: prompts from JSON, options from text. Empty fields count as not given."""
    fields = {name: text for name, text in body.fields if text}
    if len(dict(body.fields)) < len(body.fields):
        raise InvalidOption("a field is given twice: give each one once")
    if wrong := next((name for name in FILES if name in fields), None):
        raise ImageRejected(400, "missing_image", f"{wrong}: is a text: send the image as a file")
    if wrong := next((name for name, _ in body.files if name not in FILES), None):
        raise ImageRejected(400, "missing_image", f"{wrong[:64]!r}: the form's file should be named {FILES[0]}")
    texts = {name: fields.pop(name) for name in ("imageId", "imageDigest", "model_type", "format") if name in fields}
    asked = {name: _from_json(name, fields.pop(name)) for name in ("prompts", *POINTED) if name in fields}
    return options_from_text(fields) | texts | asked


def _from_json(name: str, text: str) -> object:
    try:
        return bodies.parse(text.encode("utf-8", "replace"), PARTS, name)
    except ImageRejected as error:
        raise ImageRejected(422, "invalid_prompts", str(error)) from None


def _prompts(given: dict[str, Any]) -> list[Any]:
    """Takes the prompts from an item: a list of them, or the parts of one prompt."""
    parts = {key: given.pop(name) for name, key in POINTED.items() if name in given}
    prompts = given.pop("prompts", None)
    if parts and prompts is not None:
        raise ImageRejected(422, "invalid_prompts", f"prompts: stand alone, without {', '.join(POINTED)}")
    if prompts is None and not parts:
        raise ImageRejected(
            422, "no_prompts", f"there are no prompts: give {', '.join(POINTED)}, or a list of prompts as `prompts`"
        )
    if parts:
        return [parts]
    if not isinstance(prompts, list):
        raise ImageRejected(422, "invalid_prompts", "prompts: should be a list of prompts")
    return prompts


def _form(given: object) -> Form | None:
    if given is None:
        return None
    try:
        return Form(str(given))
    except ValueError:
        raise InvalidOption(f"format: should be {' or '.join(Form)}") from None


def _usual(body: Body) -> Form:
    return Form.MASKS if body.kind == bodies.FORM else Form.MEASURED
