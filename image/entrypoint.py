"""The entry point of the container: starts TorchServe, registers models, and drains TorchServe before it ends.

It runs as a child of PID 1 and is configured by environment variables; docs/image.md names them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from image import drain
from image.log import pass_on, say
from image.management import METRICS_PORT, PORT, Management, Refused, Unreachable
from tools import java, launch, properties
from tools.mar import ROOT
from tools.problem import Problem

LOG_CONFIG = ROOT / "config" / "log4j2.xml"
ARCHIVES = ROOT / "models"
"""Folder of the .mar files that come with the image."""

SCRATCH = Path(tempfile.gettempdir(), "torchserve")
_START_S, _STOP_S, _LOG_S = 120.0, 30.0, 5.0


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings of config.properties for this container.

    Inference and metrics listen for other machines, management for this container alone.

    Args:
        environment: environment variables; ports and the model store may be set.
    """

    def port(variable: str, usual: int) -> str:
        return str(int(environment.get(variable, usual)))

    grpc = int(port("GRAINSERVE_GRPC_PORT", 7070))
    return {
        **properties.read(properties.CONFIG),
        "inference_address": f"http://0.0.0.0:{port('GRAINSERVE_PORT', 8080)}",
        "management_address": f"http://127.0.0.1:{port(PORT, 8081)}",
        "metrics_address": f"http://0.0.0.0:{port(METRICS_PORT, 8082)}",
        "grpc_inference_port": str(grpc),
        "grpc_management_port": str(grpc + 1),
        "model_store": str(model_store(environment)),
        "metrics_config": str(ROOT / "config" / "metrics.yaml"),
    }


def model_store(environment: Mapping[str, str]) -> Path:
    """Returns the folder where TorchServe finds archives."""
    return Path(environment.get("GRAINSERVE_MODEL_STORE", "/var/lib/grainserve/model_store"))


def archives(environment: Mapping[str, str]) -> list[str]:
    """Returns the file names of the archives to register at the start."""
    return [f"{name}.mar" for name in environment.get("GRAINSERVE_MODELS", "").split()]


def stock(store: Path, source: Path = ARCHIVES) -> None:
    """Copies the image's archives into the model store, over those of an older image.

    Archives of swapped versions have other file names and stay.

    Args:
        store: folder of the model store.
        source: folder of the image's archives.
    """
    store.mkdir(parents=True, exist_ok=True)
    for archive in sorted(source.glob("*.mar")):
        partial = store / f".{archive.name}.partial"
        shutil.copyfile(archive, partial)
        partial.replace(store / archive.name)


class Server:
    """The Java process of TorchServe, and the handlers of this process's signals."""

    def __init__(self) -> None:
        self._signals = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def run(self) -> int:
        """Serves until a signal, then drains.

        Returns:
            Exit code: 0 if the drain left no requests; 1 if it did, or if TorchServe ended by itself.
        """
        in_force = settings(os.environ)
        drain.limits(os.environ)  # raises now if a variable is wrong, not when there are requests to lose
        # A restarted container keeps its volumes, and /tmp may be a volume.
        drain.DRAINING.unlink(missing_ok=True)
        shutil.rmtree(SCRATCH, ignore_errors=True)
        SCRATCH.mkdir(parents=True)
        stock(model_store(os.environ))
        command = launch.command(java.find().path, in_force, SCRATCH, LOG_CONFIG)
        self._java = subprocess.Popen(
            command,
            env=launch.variables(os.environ, SCRATCH),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._log = threading.Thread(target=pass_on, args=[self._java.stdout], daemon=True)
        self._log.start()
        management = Management()
        try:
            self._register(management, archives(os.environ))
            while self._java.poll() is None and not self._signals:
                time.sleep(0.2)
            drained = self._signals > 0 and self._drained(management)
            if self._java.poll() is not None:
                say(f"TorchServe ended by itself, exit code {self._java.returncode}", "ERROR")
                return 1
            return 0 if drained else 1
        finally:
            self._end()

    def _register(self, management: Management, files: list[str]) -> None:
        deadline = time.monotonic() + _START_S
        while not self._signals:
            try:
                management.models()
                break
            except Unreachable as error:
                if self._java.poll() is not None:
                    return
                if time.monotonic() > deadline:
                    raise Problem(f"TorchServe does not start: {error}") from error
                time.sleep(0.2)
        for archive in files if not self._signals else []:
            management.register(archive)
            say(f"{archive} is registered; its workers load")

    def _drained(self, management: Management) -> bool:
        """Drains; a second signal ends the drain at once. Returns whether no requests are left."""
        heard = self._signals
        child = subprocess.Popen([sys.executable, "-m", "image.drain"], cwd=ROOT)
        while child.poll() is None:
            if self._signals > heard:
                child.kill()
                child.wait()
                say(f"told twice to end; given up, {drain.left(management)}", "ERROR")
                return False
            time.sleep(0.1)
        return child.returncode == 0

    def _end(self) -> None:
        if self._java.poll() is None:
            self._java.terminate()
            try:
                self._java.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                say(f"TorchServe did not end within {_STOP_S:.0f} s", "ERROR")
        with suppress(ProcessLookupError):  # the group holds the workers as well
            os.killpg(self._java.pid, signal.SIGKILL)
        self._java.wait()
        self._log.join(_LOG_S)

    def _hear(self, number: int, frame: object) -> None:
        del number, frame
        self._signals += 1


def main() -> int:
    """Command line entry."""
    try:
        return Server().run()
    except (Problem, Refused, Unreachable, ValueError, OSError) as error:
        say(str(error), "ERROR")
        return 1


if __name__ == "__main__":
    sys.exit(main())
