"""Redis as a child process, in which workers share kept embeddings."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tools import ports
from tools.problem import Problem
from tools.process import Server

_PATIENCE_S = 30.0


class RedisServer:
    """A Redis on loopback that writes nothing to disk.

    Attributes:
        url: its address, for GRAINSERVE_REDIS.
        client: client of it.
    """

    def __init__(self, folder: Path, port: int) -> None:
        """Describes the server; `start` starts it.

        Args:
            folder: folder for its log.
            port: its port.
        """
        self.url = f"redis://{ports.LOOPBACK}:{port}/0"
        self.client = redis.Redis.from_url(self.url)
        self._folder, self._port = folder, port
        self._server: Server | None = None

    def start(self) -> None:
        """Starts Redis, empty, and waits until it answers.

        Raises:
            Problem: Redis is not installed, or does not start.
        """
        binary = shutil.which("redis-server")
        if not binary:
            raise Problem("redis-server is not installed: apt-get install redis-server")
        command = [
            binary,
            "--bind",
            ports.LOOPBACK,
            "--port",
            str(self._port),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        self._server = Server("Redis", command, self._folder / "redis.log", os.environ)
        try:
            self._server.wait_until(self._answers, _PATIENCE_S)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Kills Redis (SIGKILL) with all that it holds."""
        if self._server is not None and self._server.running:
            os.kill(self._server.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Stops Redis."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self.client.close()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
