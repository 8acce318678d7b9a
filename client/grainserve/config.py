"""Settings from the environment: production differs from the demo in these alone."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Sequence

from grainserve.errors import InvalidConfiguration

TORCHSERVE = "GRAINSERVE_TORCHSERVE"
MANAGEMENT = "GRAINSERVE_MANAGEMENT"
BUCKET = "GRAINSERVE_BUCKET"
WEIGHTS_BUCKET = "GRAINSERVE_WEIGHTS_BUCKET"
MODEL = "GRAINSERVE_MODEL"
PROMPT_MODEL = "GRAINSERVE_PROMPT_MODEL"
VARIANTS = "GRAINSERVE_VARIANTS"
SUBMITTER = "GRAINSERVE_SUBMITTER"
PUBSUB = "GRAINSERVE_PUBSUB"
MODEL_STORE = "GRAINSERVE_MODEL_STORE"
READABLE = "GRAINSERVE_READABLE"
NONE = "none"
"""The address of a server that cannot be reached from here: TorchServe's management, or all of TorchServe for a gateway
that only takes jobs."""

ADDRESSES = (TORCHSERVE, MANAGEMENT)
DEFAULTS = {TORCHSERVE: "http://127.0.0.1:8080", MANAGEMENT: "http://127.0.0.1:8081", MODEL: "sam_tiny"}


def setting(given: str | None, variable: str) -> str:
    """Returns the given value, else the environment variable's, else the default.

    Args:
        given: the caller's own value; None for none.
        variable: name of the environment variable.

    Raises:
        InvalidConfiguration: there is no value, or it should be an address and is none.
    """
    value = given or os.environ.get(variable) or DEFAULTS.get(variable)
    if not value:
        start = "; the command line takes --bucket, and finds a running `make serve`" if variable == BUCKET else ""
        raise InvalidConfiguration(f"{variable} is not set: set it in the environment or pass it{start}")
    return check_address(value, variable) if variable in ADDRESSES else value


def check_address(value: str, variable: str) -> str:
    """Returns a server's address unchanged; `none` counts as an address.

    Args:
        value: the address.
        variable: name of the setting, for the message.

    Raises:
        InvalidConfiguration: the address does not begin with http:// or https://, or has no host.
    """
    scheme, _, host = value.partition("://")
    if value != NONE and not (scheme.lower() in ("http", "https") and host.strip("/")):
        raise InvalidConfiguration(
            f"{variable} is {value!r}: an address begins with http:// or https://, such as {_example(value)}"
        )
    return value


def _example(value: str) -> str:
    host = value.rpartition("//")[2].strip("/ ")
    return f"http://{host}" if re.fullmatch(r"[\w.-]+(:\d+)?", host) else DEFAULTS[TORCHSERVE]


def management(given: str | None) -> str | None:
    """Returns the management address, or None if the setting is `none`."""
    value = setting(given, MANAGEMENT)
    return None if value == NONE else value


def prompt_model(given: str | None, model: str) -> str:
    """Returns the model that answers prompts: the given one, else GRAINSERVE_PROMPT_MODEL, else `MODEL-prompt`.

    Prompts have workers of their own, so that a click never waits behind automatic masks.

    Args:
        given: the caller's own value; None for none.
        model: name of the model of automatic masks.
    """
    return given or os.environ.get(PROMPT_MODEL) or f"{model}-prompt"


def variants(given: Sequence[str], model: str) -> dict[str, str]:
    """Returns the models that answer prompts at a gateway, by the name under which a request asks for them.

    Args:
        given: the caller's own, NAME=MODEL each; none for those of GRAINSERVE_VARIANTS, which commas separate. Without
            these there is one, `fast`, the model that `prompt_model` returns.
        model: name of the model of automatic masks.

    Raises:
        InvalidConfiguration: one is not of this form, or a name is there twice.
    """
    pairs = list(given) or [each for each in os.environ.get(VARIANTS, "").split(",") if each.strip()]
    found: dict[str, str] = {}
    for pair in pairs or [f"fast={prompt_model(None, model)}"]:
        name, _, value = (part.strip() for part in pair.partition("="))
        if not re.fullmatch(r"[a-z0-9_-]{1,32}", name) or not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
            raise InvalidConfiguration(f"{pair!r} is no variant: give NAME=MODEL, such as fast=sam_tiny-prompt")
        if name in found:
            raise InvalidConfiguration(f"variant {name!r} is there twice: give each one once")
        found[name] = value
    return found


def submitter(given: str | None) -> str:
    """Returns the submitter's name: the given one, else GRAINSERVE_SUBMITTER, else the user's name.

    Raises:
        InvalidConfiguration: the user has no name, as in some containers.
    """
    value = given or os.environ.get(SUBMITTER)
    if value:
        return value
    try:
        return re.sub(r"[^a-z0-9_-]+", "-", getpass.getuser().lower()).lstrip("-_")[:63] or "user"
    except (KeyError, OSError, ImportError):  # getpass raises different errors in different versions of Python
        raise InvalidConfiguration(f"the user has no name: set {SUBMITTER}") from None
