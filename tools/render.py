"""Renders deploy/ with kustomize, as `make render`; the output is committed, so that a change of it is reviewed.

    python -m tools.render            deploy/rendered/*.yaml, valid for Kubernetes' schemas
    python -m tools.render --check    writes nothing, exit code 1 when what is committed is another

Also copies what pods read of this repository's configuration into deploy/base/config/: kustomize reads no files outside
its folder, and with the copies `kubectl apply -k` needs no flag.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.mar import ROOT
from tools.problem import Problem, main_exit
from tools.properties import CONFIG

DEPLOY = ROOT / "deploy"
OVERLAYS = ("gpu", "cpu")
HEAD = "# Rendered from deploy/overlays/{overlay} by `make render`; edit those files.\n"

SETTINGS = {"job_queue_size": "4"}
"""Lines of config.properties that differ in a cluster. A short queue, because its wait counts towards the dispatchers'
patience of 600 s, and because what is turned away goes to another pod."""

VERSIONS = ("1.29.0", "1.37.0")
"""Kubernetes' versions whose schemas must take the output: the first one with sidecars, and the latest."""


def configuration() -> dict[Path, str]:
    """Files of deploy/base/config/ and what belongs in them."""
    folder = DEPLOY / "base" / "config"
    return {
        folder / "config.properties": _changed(CONFIG.read_text(), SETTINGS),
        folder / "metrics.yaml": (ROOT / "config" / "metrics.yaml").read_text(),
    }


def _changed(text: str, settings: Mapping[str, str]) -> str:
    """The lines of a config.properties, with its comments, and some settings changed.

    Raises:
        Problem: A setting is not there to be changed.
    """
    lines = text.splitlines()
    for key, value in settings.items():
        places = [number for number, line in enumerate(lines) if line.startswith(f"{key}=")]
        if len(places) != 1:
            raise Problem(f"{CONFIG.name} sets {key} {len(places)} times: tools/render.py changes it once.")
        lines[places[0]] = f"{key}={value}"
    return "\n".join(["# Written by `make render`; edit the file at the root of the repository.", *lines, ""])


def render(overlay: str) -> str:
    """An overlay as kustomize renders it.

    Raises:
        Problem: kubectl is missing, or refuses.
    """
    kubectl = find_kubectl()
    if kubectl is None:
        raise Problem(
            "kubectl is not installed, which renders deploy/: get one from 1.29 on (kubernetes.io/docs/tasks/tools)"
        )
    command = [kubectl, "kustomize", str(DEPLOY / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"deploy/overlays/{overlay} does not render: {done.stderr.strip()}")
    return HEAD.format(overlay=overlay) + done.stdout


def find_kubectl() -> str | None:
    """Where kubectl is."""
    return shutil.which("kubectl")


def rendered(overlay: str) -> Path:
    """The committed output of an overlay."""
    return DEPLOY / "rendered" / f"{overlay}.yaml"


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a YAML stream."""
    return [each for each in yaml.safe_load_all(text) if each]


def invalid(text: str) -> list[str]:
    """What Kubernetes' schemas do not take, in words; unknown fields are not taken.

    Raises:
        Problem: kubernetes-validate, which holds the schemas, is not installed.
    """
    try:
        import kubernetes_validate  # noqa: PLC0415 - tests without it say so
    except ModuleNotFoundError:
        raise Problem("kubernetes-validate is not installed: run `make setup`.") from None
    found = []
    for version in VERSIONS:
        for each in objects(text):
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(map(str, error.path))
                found.append(
                    f"Kubernetes {version}: {each['kind']}/{each['metadata']['name']} {where}: {error.message}"
                )
    return found


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the committed files are others")
    arguments = parser.parse_args()
    stale = _settle(configuration(), write=not arguments.check)
    output = {rendered(overlay): render(overlay) for overlay in OVERLAYS}
    stale += _settle(output, write=not arguments.check)
    for file, text in output.items():
        if problems := invalid(text):
            raise Problem("\n".join(problems))
        print(f"{file.relative_to(ROOT)}: {len(objects(text))} objects, valid for Kubernetes {' and '.join(VERSIONS)}")
    if arguments.check and stale:
        raise Problem(f"not what `make render` writes: {', '.join(str(file.relative_to(ROOT)) for file in stale)}")
    return 0


def _settle(files: Mapping[Path, str], *, write: bool) -> list[Path]:
    """Writes files, or does not; returns those that had another content."""
    stale = [file for file, text in files.items() if not file.is_file() or file.read_text() != text]
    for file in stale if write else []:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(files[file])
    return stale


if __name__ == "__main__":
    main_exit(main)
