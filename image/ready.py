"""Whether this container can answer requests: exit code 0 when every registered model has a READY worker.

TorchServe's /ping does not tell: it says Healthy while models load, and while their workers crash.
"""

from __future__ import annotations

import sys
from pathlib import Path

from image.drain import DRAINING
from image.management import Management, Refused, Unreachable


def problems(management: Management, draining: Path = DRAINING) -> list[str]:
    """What is missing, in words; empty when the container is ready."""
    if draining.exists():
        return ["draining"]
    try:
        names = management.models()
        if not names:
            return ["no model is registered"]
        return [f"{name} has no READY worker" for name in names if not _serves(management, name)]
    except (Unreachable, Refused) as error:
        return [str(error)]


def _serves(management: Management, model: str) -> bool:
    return any(worker["status"] == "READY" for worker in management.default(model)["workers"])


def main() -> int:
    """Command line entry: `ready`."""
    found = problems(Management())
    print("; ".join(found) or "ready")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
