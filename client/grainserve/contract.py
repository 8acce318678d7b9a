"""The wire contract: checks options before they are submitted, and results against their schema."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from grainserve.errors import InvalidImageId, InvalidOption, InvalidResult

IMAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
SUBMITTER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NUMBER = re.compile(r"[\s\d.eE+-]*", re.ASCII)
"""Characters that the text of a number may have. Python alone would also read other scripts' digits, and 1_0 as ten."""


@cache
def schema(name: str) -> dict[str, Any]:
    """Returns a schema of the package.

    Args:
        name: `options`, `result` or `error`.
    """
    text = resources.files("grainserve").joinpath(f"schemas/{name}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator(name: str) -> Draft202012Validator:
    registry: Registry[Any] = Registry().with_resources(
        [(schema(each)["$id"], Resource.from_contents(schema(each))) for each in ("options", "result", "error")]
    )
    return Draft202012Validator(schema(name), registry=registry)


def check_image_id(image_id: object) -> str:
    """Returns an image id unchanged.

    Raises:
        InvalidImageId: the id is not 1 to 128 letters, digits, `-` or `_`. Ids become object names, so nothing else
            gets through.
    """
    if not isinstance(image_id, str) or not IMAGE_ID.fullmatch(image_id):
        raise InvalidImageId(
            f"{_shown(image_id)} is no image id: 1 to 128 letters, digits, '-' or '_', as `submit` returned"
        )
    return image_id


def validate_options(options: Mapping[str, object]) -> dict[str, Any]:
    """Checks the options of a request.

    Args:
        options: values by option name; None counts as not given, and NumPy scalars count as numbers.

    Returns:
        The options given, as JSON values.

    Raises:
        InvalidOption: a name is unknown, or a value has the wrong type, is out of range, NaN or infinite; the message
            names the option and its allowed values.
    """
    allowed = schema("options")["properties"]
    checked: dict[str, Any] = {}
    for name, given in options.items():
        if name not in allowed:
            # Comparing a name of 8 MB would take 330 MB.
            close = difflib.get_close_matches(str(name)[:64], allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(allowed)}"
            raise InvalidOption(f"unknown option {str(name)[:64]!r}: {hint}")
        value = given.item() if isinstance(given, np.generic) else given
        if value is None:
            continue
        finite = not isinstance(value, float) or math.isfinite(value)
        if not finite or not Draft202012Validator(allowed[name]).is_valid(value):
            raise InvalidOption(f"{name} is {_shown(value)}; it must be {describe_option(name)}")
        # JSON Schema counts 32.0 as an integer; the handler should get 32.
        checked[name] = int(value) if isinstance(value, float) and "integer" in allowed[name].get("type", ()) else value
    return checked


def _shown(value: object) -> str:
    """Formats a value for a message: short, and without its nested parts, where `repr` may run out of stack."""
    if isinstance(value, str):
        return repr(value[:64])
    return f"{value!r:.64}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def options_from_text(fields: Mapping[str, str]) -> dict[str, Any]:
    """Reads options that came as text, as from a form or a query.

    Args:
        fields: texts by option name; empty texts count as not given.

    Raises:
        InvalidOption: a name is unknown, or a text is no allowed value of its option.
    """
    allowed = schema("options")["properties"]
    return validate_options(
        {name: _from_text(allowed.get(name, {}).get("type", ()), text) for name, text in fields.items() if text}
    )


def _from_text(kinds: Sequence[str], text: str) -> object:
    """Reads a number or truth value where one is wanted; else returns the text, for the schema to refuse."""
    if "boolean" in kinds:
        return {"true": True, "false": False}.get(text, text)
    for kind, read in (("integer", whole_number), ("number", number)):
        if kind in kinds:
            try:
                return read(text)
            except ValueError:
                continue
    return text


def number(text: str) -> float:
    """Reads a number as people write it, in forms, queries and commands alike.

    Raises:
        ValueError: the text is no number, or has underscores, words or other scripts' digits.
    """
    return float(_digits(text))


def whole_number(text: str) -> int:
    """Reads an integer as people write it; see `number`.

    Raises:
        ValueError: the text is no integer.
    """
    return int(_digits(text))


def _digits(text: str) -> str:
    if not NUMBER.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is not a number")
    return text


def describe_option(name: str) -> str:
    """Describes the allowed values of an option in words: "an integer from 1 to 128"."""
    rule = schema("options")["properties"][name]
    if "enum" in rule:
        return " or ".join(repr(value) for value in rule["enum"] if value is not None)
    if "pattern" in rule:
        return f"a text like {rule['examples'][0]!r}"
    if "boolean" in rule["type"]:
        return "true or false"
    if "string" in rule["type"]:
        return f"a text of {rule['minLength']} to {rule['maxLength']} characters, none of them a control character"
    kind = "an integer" if "integer" in rule["type"] else "a number"
    if "exclusiveMinimum" in rule:
        return f"{kind} over {rule['exclusiveMinimum']} and up to {rule['maximum']}"
    return f"{kind} from {rule['minimum']} to {rule['maximum']}"


def validate_result(result: object) -> None:
    """Checks a result against the whole schema, in about half a millisecond per grain.

    Raises:
        InvalidResult: a rule is broken; the message names the first one and where.
    """
    _validate("result", result)


def validate_error(answer: object) -> None:
    """Checks an error object against its schema.

    Raises:
        InvalidResult: a rule is broken; the message names the first one and where.
    """
    _validate("error", answer)


def _validate(name: str, instance: object) -> None:
    bad = _not_finite(instance, "")
    if bad:
        raise InvalidResult(f"{bad} is not a finite number")
    # Only the first error is looked for: a million numbers in the place of grains would be a million errors.
    error = next(_validator(name).iter_errors(instance), None)
    if error:
        raise InvalidResult(f"{error.json_path}: {error.message[:300]}")


def _not_finite(value: object, path: str) -> str | None:
    """Finds the path of the first NaN or infinity, or None.

    Python's JSON reader lets these through, and comparisons with them never fail.
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else path or "/"
    if isinstance(value, Mapping):
        children: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return None
    return next((found for key, child in children if (found := _not_finite(child, f"{path}/{key}"))), None)
