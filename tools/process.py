"""Servers as child processes: starts them, waits for them, and stops them without leaving anything behind."""

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
    """A child process in a process group of its own, with its output in a file.

    In its own group, a Ctrl-C at the terminal does not reach it before it is asked to stop, and its children can be
    ended with it. Starts at once.

    Args:
        name: name in messages.
        command: program and its arguments.
        log: file for its output.
        environment: its whole environment.

    Raises:
        Problem: the program cannot be started.
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
        """Process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Waits until `ready()` returns True.

        Args:
            ready: tells whether the server is ready.
            timeout: longest wait, s.

        Raises:
            Problem: the process ended or the time is over; the message holds the end of its output.
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
            patience: time between asking and killing, s.
        """
        family = self._family()
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout=patience)
            except subprocess.TimeoutExpired:
                self._kill_group()
                self._process.wait()
        # Children get a short time of their own: they end when they see that their parent is gone.
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
        """Returns the processes of the group that are left after its leader is gone."""
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
    """Returns the last lines of a log file, indented, for a message; says so if the file is empty or missing.

    Args:
        file: log file.
        lines: most lines to return.
    """
    text = file.read_text(errors="replace") if file.is_file() else ""
    kept = text.rstrip().splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in kept) if kept else "    (its log is empty)"
