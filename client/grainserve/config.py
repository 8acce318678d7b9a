"""Settings from the environment; production differs from the demo only by these."""

from __future__ import annotations

import os

from grainserve.errors import InvalidConfiguration

TORCHSERVE = "GRAINSERVE_TORCHSERVE"
MANAGEMENT = "GRAINSERVE_MANAGEMENT"
BUCKET = "GRAINSERVE_BUCKET"
WEIGHTS_BUCKET = "GRAINSERVE_WEIGHTS_BUCKET"
MODEL = "GRAINSERVE_MODEL"

DEFAULTS = {TORCHSERVE: "http://127.0.0.1:8080", MANAGEMENT: "http://127.0.0.1:8081", MODEL: "sam_tiny"}


def setting(given: str | None, variable: str) -> str:
    """Returns what was given, else the environment variable, else its default.

    Raises:
        InvalidConfiguration: there is none of the three.
    """
    value = given or os.environ.get(variable) or DEFAULTS.get(variable)
    if not value:
        raise InvalidConfiguration(f"{variable} is not set: set it in the environment or pass it")
    return value
