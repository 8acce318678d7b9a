"""Checks that the packages of `make setup` work together: python -m tools.selfcheck."""

from __future__ import annotations

import importlib
import sys
from importlib import util

from tools import emulator, java
from tools.problem import Problem, main_exit

REINSTALL = "Remove .venv and run `make setup` again"


def check_python() -> str:
    """Checks that this is Python 3.11; raises a `Problem` if not."""
    if sys.version_info[:2] != (3, 11):
        raise Problem(f"This is Python {sys.version.split()[0]}, grainserve needs 3.11. {REINSTALL}.")
    return f"Python {sys.version.split()[0]}"


def check_torch() -> str:
    """Runs one of torchvision's compiled functions, which fails if torchvision was built for another torch.

    Raises:
        Problem: the function fails or returns a wrong answer.
    """
    try:
        torch = importlib.import_module("torch")
        torchvision = importlib.import_module("torchvision")
        kept = torchvision.ops.nms(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([1.0]), 0.5)
    # A mismatched pair shows as ImportError, OSError (a missing library), RuntimeError (an operator that does
    # not exist) or AttributeError (a half-initialised module).
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Problem(
            f"torch and torchvision do not work together ({reason}). They must come from the same build, such as "
            f"torch 2.13.0 and torchvision 0.28.0 of requirements.txt. {REINSTALL}."
        ) from error
    if kept.tolist() != [0]:
        raise Problem(f"torchvision's NMS answers {kept.tolist()} instead of [0]. {REINSTALL}.")
    return f"torch {torch.__version__} with torchvision {torchvision.__version__}"


def check_java() -> str:
    """Checks that there is a Java for TorchServe; raises a `Problem` if not."""
    runtime = java.find()
    return f"Java {runtime.major} from {runtime.origin}"


def check_emulator() -> str:
    """Checks that the GCS emulator has a binary for this machine; raises a `Problem` if not."""
    return emulator.binary().name


def check_packages() -> str:
    """Checks that both distributions are installed; raises a `Problem` if not."""
    for package in ("grain_handler", "grainserve"):
        # Only looked up, not imported: errors in the project's code are for the tests to find.
        if util.find_spec(package) is None:
            raise Problem(f"The package {package} is not installed. Run `rm -f .venv/.set-up`, then `make setup`.")
    return "grain_handler, grainserve"


def main() -> int:
    """Runs every check and prints what it found."""
    found = [check() for check in (check_python, check_torch, check_java, check_emulator, check_packages)]
    print(f"Ready: {'; '.join(found)}.")
    return 0


if __name__ == "__main__":
    main_exit(main)
