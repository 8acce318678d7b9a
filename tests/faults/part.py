"""A process of a schedule: it can be killed, held up and started again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.process import Server


class Part:
    """A process that can be killed, held up and started again."""

    def __init__(self, name: str, module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._command: list[str | Path] = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._starts = 0
        self._server: Server | None = None
        self.logs: list[Path] = []

    def start(self) -> None:
        """Starts the process; its output goes to a new file each time."""
        self._starts += 1
        self.logs.append(self._log.with_name(f"{self._log.name}-{self._starts}.log"))
        self._server = Server(self.name, self._command, self.logs[-1], self._environment)

    def signal(self, number: int) -> None:
        """Sends a signal, if the process runs."""
        if self._server is not None and self._server.running:
            os.kill(self._server.pid, number)

    def kill(self) -> None:
        """Kills the process with SIGKILL."""
        self.signal(signal.SIGKILL)
        if self._server is not None:
            self._server.stop()

    @property
    def pid(self) -> int:
        """Process id of the running process."""
        assert self._server is not None
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._server is not None and self._server.running

    def printed(self) -> list[str]:
        """Returns the complete lines that all its runs have printed so far."""
        return [line for log in self.logs for line in _lines(log)]

    def said(self, line: str) -> bool:
        """Tells whether the present run has printed this."""
        return bool(self.logs) and line in _lines(self.logs[-1])


def _lines(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1]
