"""The arguments of `docker run`, as deploy/gce/run.sh gives them, read without Docker."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.mar import ROOT
from tools.problem import Problem

GCE = ROOT / "deploy" / "gce"

ENGINES = {
    *("--cap-add", "--cap-drop", "--gpus", "--log-driver", "--name", "--network", "--publish", "--restart"),
    *("--security-opt", "--shm-size", "--stop-timeout"),
}
"""Options that only a container engine can carry out."""


@dataclass(frozen=True)
class DockerRun:
    """What a container is started with.

    Attributes:
        image: Name of the image.
        command: Arguments in place of the image's; empty for the image's own.
        environment: Variables on top of the image's own.
        volumes: A volume's name, or the path of what is mounted, by its place in the container.
        tmpfs: Mount options by place.
        engines: Other options, which only a container engine can carry out.
    """

    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    volumes: dict[str, str]
    tmpfs: dict[str, str]
    engines: tuple[str, ...]


def parse(arguments: Sequence[str]) -> DockerRun:
    """Reads the arguments of `docker run`.

    Raises:
        Problem: An option is neither applied here nor known as an engine's, or the root file system may be written to.
    """
    environment: dict[str, str] = {}
    volumes: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    engines: list[str] = []
    read_only = False
    left = list(arguments)
    while left and left[0].startswith("-"):
        option = left.pop(0)
        if option == "--read-only":
            read_only = True
            continue
        value = left.pop(0)
        if option == "--env":
            name, _, environment[name] = value.partition("=")
        elif option == "--volume":
            source, place, *_ = value.split(":")
            volumes[place] = source
        elif option == "--tmpfs":
            place, _, tmpfs[place] = value.partition(":")
        elif option in ENGINES:
            engines += [option, value]
        else:
            raise Problem(f"tools/docker_run.py does not know docker's {option}: say there what becomes of it.")
    if not read_only:
        raise Problem("--read-only is missing: a container's root file system is read-only.")
    image, *command = left
    return DockerRun(image, tuple(command), environment, volumes, tmpfs, tuple(engines))


def settings(**changes: str) -> dict[str, str]:
    """Returns the settings of a VM: those of settings.env.example, but for `changes`."""
    lines = (GCE / "settings.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#")) | changes


def on_vm(container: str, root: Path, **changes: str) -> list[str]:
    """Returns the arguments of `docker run` with which a VM starts a container.

    Args:
        container: `worker`, `gateway` or `caddy`.
        root: What stands for the VM's root folder.
        changes: Settings other than those of settings.env.example.
    """
    environment = {**os.environ, **settings(**changes), "GRAINSERVE_ROOT": str(root)}
    command = ["bash", str(GCE / "run.sh"), "arguments", container]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
