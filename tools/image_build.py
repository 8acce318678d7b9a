"""Builds the images without a Docker engine: with buildah in a chroot, on a bare Debian in place of NVIDIA's image.

It needs root and Debian's packages buildah and debootstrap.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.mar import ROOT
from tools.problem import Problem, require_disk

DEBIAN = "bookworm"
# NVIDIA's image has no Python. Here it comes from Debian, so that it need not be fetched from elsewhere.
PACKAGES = "ca-certificates,python3.11,python3-venv"
PYTHON = "/usr/bin/python3.11"
BASE = f"localhost/grainserve-base:{DEBIAN}"
NEED_MIB = 40 * 1024
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_POLICY = Path("/etc/containers/policy.json")


@dataclass(frozen=True)
class Image:
    """A built image, laid out as a folder.

    Attributes:
        root: folder of its root file system.
        config: Config, as `docker inspect` shows it.
        seconds: time that the build took, s.
        mib: size of its files, MiB.
    """

    root: Path
    config: dict[str, Any]
    seconds: float
    mib: int


class Builder:
    """A buildah that keeps all its files in one folder, so that nothing is left when the folder is removed."""

    def __init__(self, folder: Path) -> None:
        """Checks that images can be built here.

        Args:
            folder: folder for all files.

        Raises:
            Problem: this process is not root, a program is missing, or the disk is too small.
        """
        if os.geteuid() != 0:
            raise Problem("Building images in a chroot needs root.")
        for program in ("buildah", "debootstrap"):
            if shutil.which(program) is None:
                raise Problem(f"{program} is not installed: apt-get install buildah debootstrap")
        if not _POLICY.is_file():
            raise Problem(f"{_POLICY} is not there: Debian's package golang-github-containers-image has it.")
        require_disk(folder, NEED_MIB, "Building the images")
        self.folder = folder
        self._log = folder / "build.log"
        # buildah's caches go there too, and are removed with the folder.
        self._scratch = folder / "tmp"
        self._scratch.mkdir(parents=True, exist_ok=True)
        # An earlier run in this folder may have left containers.
        self._buildah("rm", "--all")

    def base(self) -> str:
        """Makes the base image with debootstrap, unless it exists; returns its name."""
        if BASE in self._buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return BASE
        rootfs = self.folder / "rootfs"
        shutil.rmtree(rootfs, ignore_errors=True)
        self._run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(rootfs)])
        container = self._buildah("from", "scratch").strip()
        self._buildah("add", container, str(rootfs), "/")
        self._buildah("config", "--cmd", "/bin/sh", container)
        self._buildah("commit", "--rm", container, BASE)
        shutil.rmtree(rootfs)
        return BASE

    def build(self, target: str, arguments: Sequence[str] = ()) -> Image:
        """Builds one target of the Dockerfile.

        Args:
            target: `torchserve` or `client`.
            arguments: further build arguments, NAME=VALUE.
        """
        base, name = self.base(), f"localhost/grainserve-{target}:test"
        given = [f"BASE={base}", f"PYTHON={PYTHON}", *arguments]
        # The build alone gets this machine's certificates: a proxy between it and the registries may need them.
        certificates = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_file() else []
        began = time.monotonic()
        self._buildah(
            *("build", "--isolation", "chroot", "--format", "docker", "--layers=false", "--target", target),
            *(part for argument in given for part in ("--build-arg", argument)),
            *(*certificates, "--tag", name, str(ROOT)),
        )
        seconds = time.monotonic() - began
        config = json.loads(self._buildah("inspect", "--type", "image", name))["Docker"]["config"]
        # The image is no longer needed from here on; the container holds a second copy of its layers.
        container = self._buildah("from", "--pull-never", name).strip()
        root = Path(self._buildah("mount", container).strip())
        size = int(subprocess.run(["du", "-smx", root], capture_output=True, text=True, check=True).stdout.split()[0])
        return Image(root, config, seconds, size)

    def remove(self) -> None:
        """Removes every image and container, and the folder."""
        self._buildah("umount", "--all")
        shutil.rmtree(self.folder)

    def _buildah(self, *arguments: str) -> str:
        storage = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        return self._run(["buildah", *storage, "--storage-driver", "vfs", *arguments])

    def _run(self, command: Sequence[str]) -> str:
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            environment = {**os.environ, "TMPDIR": str(self._scratch)}
            answer = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True, check=False
            )
            log.write(answer.stdout.encode())
        if answer.returncode != 0:
            lines = self._log.read_text(errors="replace").splitlines()[-25:]
            raise Problem(
                f"{command[0]} failed; the end of {self._log}:\n" + "\n".join(f"    {line}" for line in lines)
            )
        return answer.stdout
