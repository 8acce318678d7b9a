"""Runs a built image as a container would be run, without an engine: its own mounts and process ids, root read-only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tools.image_build import Image
from tools.problem import Problem
from tools.process import tail

# In namespaces of its own; what it mounts is gone with its last process. Arguments: root, volumes as FROM TO pairs up
# to "--", then what to run.
_RUN = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
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
        environment: Mapping[str, str],
        arguments: tuple[str, ...] = (),
        volumes: Mapping[str, Path] | None = None,
    ) -> None:
        """Starts the image's entry point.

        Args:
            image: The image.
            log: File for its output.
            environment: Variables on top of the image's own.
            arguments: Arguments in place of the image's.
            volumes: Folders of this machine, by their place in the container; handed to the image's user.
        """
        self.log = log
        self._user = image.config["User"]
        self._folder = image.config["WorkingDir"]
        inherent = dict(pair.split("=", 1) for pair in image.config["Env"])
        self._environment = {**inherent, **environment}
        places: list[str] = []
        for place, folder in (volumes or {}).items():
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, *map(int, self._user.split(":")))
            places += [str(folder), place]
        command = [*image.config["Entrypoint"], *(arguments or image.config.get("Cmd") or ())]
        with log.open("wb") as output:
            self._unshare = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _RUN, "sh"),
                    *(str(image.root), *places, "--", f"--userspec={self._user}", str(image.root)),
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

    def _pairs(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._environment.items()]
