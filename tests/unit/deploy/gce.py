"""What the tests of deploy/gce share: folders of programs and files of settings."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from tools import docker_run

GCE = docker_run.GCE
FAKES = Path(__file__).parent
CONTAINERS = ("worker", "gateway", "caddy")


def link_programs(folder: Path, *names: str) -> None:
    """Puts programs of this machine into a folder that is to be all of PATH."""
    folder.mkdir(exist_ok=True)
    for name in names:
        program = shutil.which(name)
        assert program, f"{name} is not installed"
        (folder / name).symlink_to(program)


def write_program(path: Path, *command: str | Path) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
    path.chmod(0o755)


def write_settings(file: Path, **changes: str) -> None:
    file.write_text("".join(f"{name}={value}\n" for name, value in docker_run.settings(**changes).items()))
