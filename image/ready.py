"""Checks whether this container can answer requests; exit code 0 if its own models each have a READY worker.

TorchServe's /ping is of no use here: it says Healthy while models load, and while their workers crash. Models that were
registered later do not count: all replicas load them at the same time, and they may never load.
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
    """Returns the names of the container's own models; none if its environment names none.

    Args:
        environment: environment variables of the container.

    Raises:
        OSError, BadZipFile: an archive to register cannot be read.
    """
    store = model_store(environment)
    registered = {name_and_version(store / archive)[0] for archive in archives(environment)}
    return registered | {model for model in [environment.get(MODEL)] if model}


def problems(management: Management, models: Set[str], draining: Path = DRAINING) -> list[str]:
    """Returns in words what is missing; empty if the container is ready.

    Args:
        management: management of the TorchServe.
        models: models whose default version must have a READY worker; when empty, any one model must have one.
        draining: file that exists once a drain has begun.
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
