"""One level of load: a number of clients, a number of requests, and their answers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.problem import Problem
from tools.process import tail

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
# Answers are counted seldom, since the measured servers use the same cores.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Ask:
    """The request that clients repeat.

    Attributes:
        path: path of the URL.
        body: body of the request.
        content_type: content type of the body.
    """

    path: str
    body: bytes
    content_type: str


@dataclass(frozen=True)
class Answer:
    """One answer, as the client received it.

    Attributes:
        sent: time when the request was sent, s since 1970.
        seconds: time from then to the answer's last byte.
        bytes: size of the answer.
        failure: reason why the answer does not count; None if it counts.
    """

    sent: float
    seconds: float
    bytes: int
    failure: str | None


@dataclass(frozen=True)
class Level:
    """The answers of one server to `clients` clients."""

    clients: int
    answers: Sequence[Answer]

    @property
    def latencies(self) -> list[float]:
        """Seconds of the answers that count, in the order of their requests."""
        answers = sorted(self.answers, key=lambda answer: answer.sent)
        return [answer.seconds for answer in answers if answer.failure is None]

    @property
    def images_per_second(self) -> float:
        """Number of answers that count, divided by the time from the first request to the last answer."""
        began = min(answer.sent for answer in self.answers)
        ended = max(answer.sent + answer.seconds for answer in self.answers)
        return len(self.latencies) / (ended - began)

    def figures(self) -> dict[str, Any]:
        """Returns the level's figures, ready for JSON."""
        latencies = self.latencies
        return {
            "images_per_second": round(self.images_per_second, 5),
            "p50_s": round(percentile(latencies, 0.50), 4),
            "p99_s": round(percentile(latencies, 0.99), 4),
            "failures": len(self.answers) - len(latencies),
            "answer_bytes": max(answer.bytes for answer in self.answers),
            "latencies_s": [round(seconds, 4) for seconds in latencies],
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that `share` of the values do not exceed (nearest rank: a value that occurred)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def read_answers(lines: str) -> list[Answer]:
    """Reads the answers that the locustfile has written so far; leaves a half-written line for later."""
    return [Answer(**json.loads(line)) for line in lines.splitlines(keepends=True) if line.endswith("\n")]


def run(
    host: str, ask: Ask, *, clients: int, requests: int, folder: Path, answered: Callable[[int], None] = lambda _: None
) -> Level:
    """Loads a server with clients that only wait for their answers.

    The clients run in a separate process, since locust replaces Python's sockets and threads with gevent's.

    Args:
        host: URL of the server.
        ask: request that every client sends.
        clients: number of clients.
        requests: number of requests in all.
        folder: folder for the files that locust reads and writes.
        answered: receives the number of answers so far.

    Raises:
        Problem: locust failed, or no answer counts.
    """
    body, spec, written, log = (folder / name for name in ("body", "ask.json", "answers.jsonl", "locust.log"))
    body.write_bytes(ask.body)
    wanted = {"path": ask.path, "content_type": ask.content_type, "body": str(body), "requests": requests}
    spec.write_text(json.dumps(wanted))
    written.unlink(missing_ok=True)
    command: list[str | Path] = [
        *(sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--host", host, "--ask", spec, "--answers", written),
        # All clients at once; failures are counted here, not by locust's exit code.
        *("--headless", "--users", str(clients), "--spawn-rate", str(clients), "--exit-code-on-error", "0"),
        *("--only-summary", "--loglevel", "WARNING"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        while process.poll() is None:
            time.sleep(_LOOK_S)
            if written.is_file():
                answered(len(read_answers(written.read_text())))
    finally:
        process.terminate()
        process.wait()
    answers = read_answers(written.read_text()) if written.is_file() else []
    if process.returncode != 0 or len(answers) != requests:
        raise Problem(
            f"locust ended with exit code {process.returncode} after {len(answers)} of {requests} answers:\n{tail(log)}"
        )
    failures = [answer.failure for answer in answers if answer.failure is not None]
    if len(failures) == requests:
        raise Problem(f"{host}{ask.path} answered none of {requests} requests. The first failure: {failures[0]}")
    return Level(clients, answers)
