"""The REST gateway as a process of a local stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tools import ports
from tools.process import Say, Server

_PATIENCE_S = 30.0


class Gateway:
    """`grainserve gateway` on loopback, with a dispatcher of its own.

    Attributes:
        url: address of the gateway.
    """

    def __init__(self, environment: Mapping[str, str], *, port: int, log: Path, say: Say = print) -> None:
        self.url = f"http://{ports.LOOPBACK}:{port}"
        self._environment = environment
        self._port = port
        self._log = log
        self._say = say
        self._server: Server | None = None

    @property
    def running(self) -> bool:
        """Whether the gateway has been started and has not ended."""
        return self._server is not None and self._server.running

    def start(self) -> None:
        """Starts the gateway and waits until it answers.

        Raises:
            Problem: the port is in use, or the gateway does not start.
        """
        ports.require_free(self._port, "the gateway", "set GRAINSERVE_GATEWAY_PORT to another one")
        command = [sys.executable, "-m", "grainserve", "gateway", "--port", str(self._port)]
        self._server = Server("The gateway", command, self._log, {**os.environ, **self._environment})
        try:
            self._server.wait_until(self._answers, _PATIENCE_S)
        except BaseException:
            self.stop()
            raise
        self._say(f"Gateway on {self.url}")

    def stop(self) -> None:
        """Stops the gateway; its jobs in hand end or go back to the queue."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False
