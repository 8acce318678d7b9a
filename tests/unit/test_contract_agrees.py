"""Client and handler share no code; what both must know is compared here."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from grain_handler import errors
from grain_handler.options import Options


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(resources.files("grainserve").joinpath("schemas", name).read_text())
    return loaded


def limits(option: dict[str, Any]) -> dict[str, Any]:
    """What a schema says of one option, null and wording aside."""
    kept = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "minLength", "maxLength")
    said: dict[str, Any] = {}
    for part in (option, *option.get("anyOf", [])):
        said |= {key: part[key] for key in kept if key in part and part[key] != "null"}
    if isinstance(said.get("type"), list):
        (said["type"],) = [kind for kind in said["type"] if kind != "null"]
    if "enum" in said:
        said["enum"] = sorted(value for value in said["enum"] if value is not None)
    return said


def test_both_know_the_same_options() -> None:
    assert set(schema("options.schema.json")["properties"]) == set(Options.model_fields)


@pytest.mark.parametrize("name", Options.model_fields)
def test_an_option_has_the_same_limits_on_both_sides(name: str) -> None:
    ours = limits(Options.model_json_schema()["properties"][name])
    theirs = limits(schema("options.schema.json")["properties"][name])
    assert theirs == ours


def test_the_client_knows_every_error_code() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    text = json.dumps(schema("error.schema.json"))
    assert all(f'"{code}"' in text for code in codes)
