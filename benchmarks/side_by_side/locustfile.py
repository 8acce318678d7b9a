"""The clients: each repeats the same request as soon as it has an answer, until enough requests were sent.

    python -m locust -f benchmarks/side_by_side/locustfile.py --headless --host URL --users 4 --spawn-rate 4 \
        --ask ask.json --answers answers.jsonl

`ask.json` is {"path", "body": file, "content_type", "requests": how many in all}. Every answer becomes a line of
`answers.jsonl` at once: {"sent": s since 1970, "seconds", "bytes", "failure": words or null}.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from locust import HttpUser, constant, events, task
from locust.env import Environment
from locust.exception import StopUser


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust is typed in part
def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--ask", type=Path, required=True, help="what to send, JSON")
    parser.add_argument("--answers", type=Path, required=True, help="where each answer is written, JSON lines")


class Client(HttpUser):
    """One client; all clients share one number of requests to send."""

    wait_time = constant(0)
    unsent = 0
    path = ""
    body = b""
    content_type = ""

    @task
    def ask(self) -> None:
        """Sends one request and waits for its answer."""
        if Client.unsent == 0:
            raise StopUser
        Client.unsent -= 1  # greenlets switch only at input and output, so never between these lines
        self.client.post(Client.path, data=Client.body, headers={"Content-Type": Client.content_type})


@events.init.add_listener  # type: ignore[untyped-decorator]
def _prepare(environment: Environment, **_: Any) -> None:
    assert environment.parsed_options is not None
    ask = json.loads(environment.parsed_options.ask.read_text())
    Client.path, Client.content_type = ask["path"], ask["content_type"]
    Client.body = Path(ask["body"]).read_bytes()
    Client.unsent = missing = ask["requests"]
    answers = environment.parsed_options.answers.open("w", buffering=1)

    def record(
        start_time: float, response_time: float, response_length: int, exception: Exception | None, **_: Any
    ) -> None:
        nonlocal missing
        line = {
            "sent": start_time,
            "seconds": response_time / 1000,
            "bytes": response_length,
            "failure": None if exception is None else str(exception),
        }
        answers.write(json.dumps(line) + "\n")
        missing -= 1
        if missing == 0:
            answers.close()
            assert environment.runner is not None
            environment.runner.quit()

    environment.events.request.add_listener(record)  # type: ignore[no-untyped-call]
