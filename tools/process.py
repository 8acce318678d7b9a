"""A server run as a child process: started, waited for and stopped without leaving anything behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tools.problem import Problem

Say = Callable[[str], None]


class Server:
    """A child process in a process group of its own, its output in a file.

    Its own group keeps a Ctrl-C at the terminal from reaching it before it is asked to stop, and lets its
    children be ended with it.
    """

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                )
        except OSError as error:
            raise Problem(f"{name} does not start: {error}") from error

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Waits until `ready()`.

        Raises:
            Problem: The process ended, or `timeout` seconds passed; with the end of its output.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                code = self._process.returncode
                raise Problem(f"{self.name} ended at its start (exit code {code}):\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise Problem(f"{self.name} was not ready after {timeout:.0f} s:\n{tail(self.log)}")
            time.sleep(0.1)

    def stop(self, patience: float = 30.0) -> None:
        """Asks the process to end, waits, and kills what is left of it and its children.

        Args:
            patience: Seconds between asking and killing.
        """
        family = self._family()
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                self._kill_group()
                self._process.wait()
        # Children get their own short time: they end when they see their parent gone.
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return self._group()

    def _group(self) -> list[psutil.Process]:
        """What is left of the group after its leader is gone."""
        members = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) == self.pid:
                    members.append(process)
            except ProcessLookupError:
                continue
        return members

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def tail(file: Path, lines: int = 20) -> str:
    """The last lines of a log file, indented; words to that effect when it is empty or missing."""
    text = file.read_text(errors="replace") if file.is_file() else ""
    kept = text.rstrip().splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in kept) if kept else "    (its log is empty)"
