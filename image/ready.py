"""Whether this container can answer requests: exit code 0 when the models it is there for have a READY worker.

TorchServe's /ping does not tell: it says Healthy while models load, and while their workers crash. A model that is
registered beside those decides nothing: all replicas load it at the same time, and it may never load.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from zipfile import BadZipFile

from image.drain import DRAINING
from image.entrypoint import archives, model_store
from image.management import Management, Refused, Unreachable
from tools.mar import name_and_version

MODEL = "GRAINSERVE_MODEL"


def wanted(environment: Mapping[str, str]) -> set[str]:
    """Names of the models that the container is there for, as far as it was told.

    Raises:
        OSError, BadZipFile: An archive that is to be registered cannot be read.
    """
    store = model_store(environment)
    registered = {name_and_version(store / archive)[0] for archive in archives(environment)}
    return registered | {model for model in [environment.get(MODEL)] if model}


def problems(management: Management, models: Set[str], draining: Path = DRAINING) -> list[str]:
    """What is missing, in words; empty when the container is ready.

    Args:
        management: The TorchServe.
        models: Those that must have a READY worker in their default version. Where none is named, any one must.
        draining: The file that says that a drain has begun.
    """
    if draining.exists():
        return ["draining"]
    try:
        registered = management.models()
        if not registered:
            return ["no model is registered"]
        serving = {name for name in registered if name in (models or registered) and _serves(management, name)}
    except (Unreachable, Refused) as error:
        return [str(error)]
    if not models:
        return [] if serving else ["no model has a READY worker"]
    return [
        f"{name} {'has no READY worker' if name in registered else 'is not registered'}"
        for name in sorted(models - serving)
    ]


def _serves(management: Management, model: str) -> bool:
    return any(worker["status"] == "READY" for worker in management.default(model)["workers"])


def main() -> int:
    """Command line entry: `ready`."""
    try:
        found = problems(Management(), wanted(os.environ))
    except (OSError, BadZipFile) as error:
        found = [str(error)]
    print("; ".join(found) or "ready")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
