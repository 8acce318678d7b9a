"""TorchServe as a child process."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tools import java, launch, ports, properties
from tools.mar import ROOT, name_and_version
from tools.problem import Problem, require_disk
from tools.process import Say, Server, tail

_NEED_MIB = 500
_START_S = 90.0
_STOP_S = 30.0
# Ends of workers after which a model counts as broken. TorchServe itself would retry for minutes.
_WORKER_DEATHS = 2
_WORKER_DIED = "Retry worker:"


PORT_VARIABLES = {
    "inference": "GRAINSERVE_PORT",
    "management": "GRAINSERVE_MANAGEMENT_PORT",
    "metrics": "GRAINSERVE_METRICS_PORT",
    "grpc_inference": "GRAINSERVE_GRPC_PORT",
    "grpc_management": "GRAINSERVE_GRPC_PORT",
}
"""Environment variables of the ports of `make serve`. The second gRPC port follows the first."""


@dataclass(frozen=True)
class Ports:
    """The five ports of a TorchServe, on loopback."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    @classmethod
    def choose_free(cls) -> Self:
        """Chooses five ports that nothing uses."""
        return cls(*ports.choose_free(5))


class TorchServe:
    """A TorchServe on loopback, configured by config.properties except for its ports and folders.

    Attributes:
        ports: its ports.
        inference: URL of the inference API.
        management: URL of the management API.
        metrics: URL of the metrics API.
        logs: folder of its logs.
        model_store: folder of the .mar files that it may register.
    """

    def __init__(
        self,
        *,
        model_store: Path,
        logs: Path,
        environment: Mapping[str, str],
        ports: Ports | None = None,
        settings: Mapping[str, str] | None = None,
        log_config: Path | None = None,
        say: Say = print,
    ) -> None:
        """Describes the server; `start` starts it.

        Args:
            model_store: folder of the .mar files.
            logs: folder for its logs; emptied at the start.
            environment: environment variables for the workers, on top of those of this process.
            ports: its ports; None: TorchServe's usual ones.
            settings: settings that replace those of config.properties, by key.
            log_config: log4j2 configuration; None: TorchServe's own.
            say: receives messages of progress.
        """
        self.ports = ports if ports is not None else Ports()
        self.model_store = model_store.resolve()
        self.logs = logs.resolve()
        self.inference, self.management, self.metrics = (
            f"http://127.0.0.1:{port}" for port in (self.ports.inference, self.ports.management, self.ports.metrics)
        )
        self._environment = dict(environment)
        self._settings = dict(settings or {})
        self._log_config = log_config
        self._say = say
        self._server: Server | None = None
        self._scratch: Path | None = None

    @property
    def pid(self) -> int:
        """Process id of Java."""
        if self._server is None:
            raise Problem("TorchServe has not been started.")
        return self._server.pid

    @property
    def log(self) -> Path:
        """The file of everything that TorchServe and its workers print."""
        return self.logs / "console.log"

    def start(self) -> None:
        """Starts Java and waits until both APIs answer; no model is loaded yet.

        Raises:
            Problem: there is no Java, a port is in use, the disk is full, or TorchServe does not start.
        """
        runtime = java.find()
        for name, port in vars(self.ports).items():
            ports.require_free(port, "TorchServe", f"set {PORT_VARIABLES[name]} to another one")
        require_disk(self.logs, _NEED_MIB, "TorchServe")
        self._clear_logs()
        self.model_store.mkdir(parents=True, exist_ok=True)
        # The workers' sockets lie in this folder under fixed names, so each TorchServe needs its own. The folder's path
        # is short because a socket's path may have 107 characters at most.
        self._scratch = Path(tempfile.mkdtemp(prefix="grainserve-"))
        require_disk(self._scratch, _NEED_MIB, "TorchServe")
        try:
            command = launch.command(runtime.path, self._settings_in_force(), self._scratch, self._log_config)
            variables = launch.variables({**os.environ, **self._environment}, self.logs)
            self._server = Server("TorchServe", command, self.log, variables)
            self._server.wait_until(self._answers, _START_S)
        except BaseException:
            self.stop()
            raise
        self._say(f"TorchServe on {self.inference} (management {self.management}), Java {runtime.major}")

    def stop(self) -> None:
        """Stops Java and every worker."""
        if self._server is not None:
            self._server.stop(_STOP_S)
            self._server = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    @property
    def running(self) -> bool:
        """Whether TorchServe has been started and has not ended."""
        return self._server is not None and self._server.running

    def register(self, mar: Path, *, timeout: float = 600.0) -> None:
        """Registers a .mar and waits for its workers; first copies it into the model store if it is elsewhere.

        Args:
            mar: archive; its manifest names model and version, its model config the number of workers.
            timeout: longest wait for its workers, s.

        Raises:
            Problem: TorchServe refuses the archive, or a worker does not load; the message holds the worker's words.
        """
        stored = self.model_store / mar.name
        if mar.resolve() != stored:
            shutil.copyfile(mar, stored)
        read = self.log.stat().st_size
        request = {"url": mar.name, "synchronous": "false"}
        answer = requests.post(f"{self.management}/models", params=request, timeout=60)
        if not answer.ok:
            raise Problem(f"TorchServe refuses {mar.name}: {_message(answer)}")
        model, version = name_and_version(mar)
        self._say(f"Loading {model} {version} ...")
        seconds = self._wait_loaded(model, version, read, timeout)
        self._say(f"{model} {version} is ready after {seconds:.1f} s")

    def describe(self, model: str, version: str | None = None) -> dict[str, Any] | None:
        """Returns management's description of a model version.

        Args:
            model: model name.
            version: model version; None: the default version.

        Returns:
            The description; None if there is no such version.
        """
        path = f"models/{model}" if version is None else f"models/{model}/{version}"
        answer = requests.get(f"{self.management}/{path}", timeout=10)
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        description: dict[str, Any] = answer.json()[0]
        return description

    def ready(self, model: str, version: str | None = None) -> bool:
        """Tells whether a version has all its workers and they are READY, which `/ping` does not tell.

        Args:
            model: model name.
            version: model version; None: the default version.
        """
        description = self.describe(model, version)
        if description is None:
            return False
        workers = [worker["status"] for worker in description["workers"]]
        return len(workers) >= max(1, description["minWorkers"]) and all(status == "READY" for status in workers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_loaded(self, model: str, version: str, read: int, timeout: float) -> float:
        """Waits until the version is ready; gives up early if its workers keep ending.

        Args:
            model: model name.
            version: model version.
            read: size of the log before this version wrote to it, bytes.
            timeout: longest wait, s.

        Returns:
            The seconds waited.

        Raises:
            Problem: the version does not load, or not in time.
        """
        begin = time.monotonic()
        told = begin
        while not self.ready(model, version):
            now = time.monotonic()
            lines = self._lines(model, version, read)
            words = _words(lines)
            if sum(_WORKER_DIED in line for line in lines) >= _WORKER_DEATHS:
                raise Problem(f"{model} {version} does not load; its worker says:\n{words}")
            if not self.running:
                raise Problem(f"TorchServe ended while {model} loaded:\n{tail(self.logs / 'console.log')}")
            if now - begin > timeout:
                raise Problem(f"{model} {version} was not ready after {timeout:.0f} s:\n{words}")
            if now - told > 10:
                told = now
                self._say(f"  still loading after {now - begin:.0f} s")
            time.sleep(0.2)
        return time.monotonic() - begin

    def _lines(self, model: str, version: str, read: int) -> list[str]:
        """Returns the log's lines about a version's workers, from position `read` on, and causes of Java's errors."""
        with self.log.open("rb") as stream:
            stream.seek(read)
            lines = stream.read().decode(errors="replace").splitlines()
        # "<time> [INFO ] W-9000-sam_tiny_1.0-stdout MODEL_LOG - <what the worker printed>"
        mark = re.compile(rf" W-\d+-{re.escape(f'{model}_{version}')}[ -]")
        return [line for line in lines if mark.search(line) or line.startswith("Caused by:")]

    def _settings_in_force(self) -> dict[str, str]:
        return {
            **properties.read(properties.CONFIG),
            "inference_address": self.inference,
            "management_address": self.management,
            "metrics_address": self.metrics,
            "grpc_inference_port": str(self.ports.grpc_inference),
            "grpc_management_port": str(self.ports.grpc_management),
            "model_store": str(self.model_store),
            "metrics_config": str(ROOT / "config" / "metrics.yaml"),
            **self._settings,
        }

    def _clear_logs(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        for log in self.logs.glob("*.log*"):
            log.unlink()

    def _answers(self) -> bool:
        try:
            return all(
                requests.get(url, timeout=2).ok for url in (f"{self.inference}/ping", f"{self.management}/models")
            )
        except requests.RequestException:
            return False


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (requests.JSONDecodeError, KeyError):
        return f"status {answer.status_code}"


def _words(lines: list[str], last: int = 25) -> str:
    """Returns what a worker printed, from the log's lines about it; Java's words if the worker could not be started."""
    printed = [line.partition("MODEL_LOG - ")[2] for line in lines if "MODEL_LOG - " in line]
    causes = [line for line in lines if line.startswith("Caused by:")]
    return "\n".join(f"    {line}" for line in (printed or causes)[-last:]) or "    (nothing)"
