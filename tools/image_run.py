"""Runs a built image as a container would be run, without an engine: its own mounts and process ids, root read-only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tools.docker_run import DockerRun
from tools.image_build import Image
from tools.problem import Problem
from tools.process import tail

# In namespaces of its own; what it mounts is gone with its last process. Arguments: root, then pairs up to each "--":
# options and place of a tmpfs, source and place of a volume; then what to run.
_RUN = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do mount -t tmpfs -o "$1" tmpfs "$root$2"; shift 2; done
shift
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot "$@"
"""


class Container:
    """One running container.

    Attributes:
        log: Its output.
        pid: Process id of its init, as the host sees it.
    """

    def __init__(
        self,
        image: Image,
        log: Path,
        given: DockerRun,
        *,
        volumes: Path,
        environment: Mapping[str, str],
        arguments: tuple[str, ...] = (),
    ) -> None:
        """Starts the image's entry point as `docker run` would.

        Args:
            image: The image.
            log: File for its output.
            given: What `docker run` is given; its volumes are handed to the image's user.
            volumes: Folder of named volumes.
            environment: Variables that differ from those given.
            arguments: Arguments after those given.
        """
        self.log = log
        self._user = image.config["User"]
        self._folder = image.config["WorkingDir"]
        inherent = dict(pair.split("=", 1) for pair in image.config["Env"])
        self._environment = {**inherent, **given.environment, **environment}
        memory = [part for place, options in given.tmpfs.items() for part in (mount_options(options), place)]
        places: list[str] = []
        for place, source in given.volumes.items():
            places += [str(self._mountable(volumes / source, image.root / place.lstrip("/"))), place]
        command = [*image.config["Entrypoint"], *(given.command or image.config.get("Cmd") or ()), *arguments]
        with log.open("wb") as output:
            self._unshare = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _RUN, "sh"),
                    *(str(image.root), *memory, "--", *places, "--", f"--userspec={self._user}", str(image.root)),
                    *("env", "-i", "-C", self._folder, *self._pairs(), *command),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while not (children := psutil.Process(self._unshare.pid).children()):
            if self._unshare.poll() is not None or time.monotonic() > deadline:
                raise Problem(f"The container does not start:\n{tail(log)}")
            time.sleep(0.02)
        self.pid = children[0].pid

    @property
    def running(self) -> bool:
        """Whether its init has not ended."""
        return self._unshare.poll() is None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in the container, as `docker exec` does."""
        user, group = self._user.split(":")
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.pid), "--mount", "--pid", "--root", "--wd"),
                *("--setuid", user, "--setgid", group, "env", "-i", "-C", self._folder, *self._pairs(), *command),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """Every process in it."""
        init = psutil.Process(self.pid)
        return [init, *init.children(recursive=True)]

    def terminate(self) -> None:
        """SIGTERM to its init, as engines do first."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Waits for its end.

        Returns:
            Its exit code.

        Raises:
            Problem: It still runs after that time.
        """
        try:
            return self._unshare.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Problem(f"The container did not end within {seconds:.0f} s:\n{tail(self.log)}") from None

    def kill(self) -> None:
        """Ends what is left of it; its init takes everything else along."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            self._unshare.wait(30)

    def _mountable(self, source: Path, place: Path) -> Path:
        """Makes a named volume, and a place to mount at, as an engine does; returns the source."""
        if source.is_file():  # of this machine, and already there
            place.touch()
            return source
        source.mkdir(parents=True, exist_ok=True)
        os.chown(source, *map(int, self._user.split(":")))
        place.mkdir(parents=True, exist_ok=True)
        return source

    def _pairs(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._environment.items()]


def mount_options(docker: str) -> str:
    """Returns the options of `mount` for those of `docker run --tmpfs`; without `exec` nothing in it may be run."""
    given = [option for option in docker.split(",") if option not in {"", "rw", "exec"}]
    return ",".join(["mode=1777", "nosuid", "nodev", *([] if "exec" in docker.split(",") else ["noexec"]), *given])
