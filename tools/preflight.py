"""Checks whether this machine can be set up; `make setup` runs it before it installs anything.

It runs on any Python that it finds, so it imports the standard library only and uses syntax that old releases can read.
"""

import shutil
import subprocess
import sys
from pathlib import Path

# torch and its CUDA libraries take 5 GB in .venv, and as much again in the installer's cache if that is on another file
# system.
NEED_MIB = 8 * 1024
IS_311 = "import sys; sys.exit(sys.version_info[:2] != (3, 11))"


def obstacle(venv: Path) -> str:
    """Returns in words what stands in the way of setting up `venv`; empty if nothing does."""
    if sys.version_info[:2] != (3, 11):
        found = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"Python 3.11 is needed, this is {found}. Install it, or name it: make setup PYTHON=/path/to/python3.11"
    interpreter = venv / "bin" / "python"
    if venv.exists() and (not interpreter.exists() or subprocess.call([str(interpreter), "-c", IS_311]) != 0):
        return f"{venv} holds no working Python 3.11. Remove it (rm -rf {venv}) and run make setup again."
    if (venv / "lib" / "python3.11" / "site-packages" / "torch").is_dir():
        return ""
    free = shutil.disk_usage(venv.resolve().parent).free // 2**20
    if free < NEED_MIB:
        return f"Setting up needs {NEED_MIB} MiB of free disk, {free} MiB are free. Free some and run make setup again."
    return ""


if __name__ == "__main__":
    words = obstacle(Path(sys.argv[1]))
    if words:
        sys.exit(f"grainserve: {words}")
