"""The image's entrypoint with a real TorchServe, without a container: readiness, logs, and a drain of two workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from image.management import Management, Unreachable
from tests.contract.conftest import Pack
from tools import ports
from tools.mar import ROOT

SECONDS, LONG = 1.0, 30.0
# This handler has no torch, so its workers start in a moment. tools/image_test.py runs the whole handler in the image,
# and tests/unit/handler/worker/test_logs.py tests its log.
ENTRY = f"""
import json
import os
import time


class Slow:
    def initialize(self, context):
        pass

    def handle(self, rows, context):
        if context.get_request_header(0, "describe"):
            return [{{"pid": os.getpid()}}]
        image_id = bytes(rows[0]["body"]).decode()
        time.sleep({LONG} if image_id == "long" else {SECONDS})
        print('said "so" \\\\ with \\ttabs and ünïcode')
        print(json.dumps({{"event": "answered", "imageId": image_id, "status": 200}}), flush=True)
        return [image_id]
"""
WORKERS = 2


@dataclass
class Container:
    """The processes of a container, without isolation."""

    process: subprocess.Popen[bytes]
    inference: str
    management: Management
    environment: dict[str, str]
    log: Path

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"image.{program}"]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    def predict(self, image_id: str) -> tuple[int, str]:
        answer = requests.post(f"{self.inference}/predictions/probe", data=image_id.encode(), timeout=60)
        return answer.status_code, answer.text


@pytest.fixture
def container(request: pytest.FixtureRequest, pack_probe: Pack, tmp_path: Path) -> Iterator[Container]:
    """An entrypoint with two workers; a test's parameter changes its environment."""
    store = tmp_path / "store"
    store.mkdir()
    archive = pack_probe("1.0", "slow", f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\n", ENTRY)
    shutil.copyfile(archive, store / "probe.mar")
    inference, management, metrics, grpc = ports.choose_free(4)
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "GRAINSERVE_PORT": str(inference),
        "GRAINSERVE_MANAGEMENT_PORT": str(management),
        "GRAINSERVE_METRICS_PORT": str(metrics),
        "GRAINSERVE_GRPC_PORT": str(grpc),
        "GRAINSERVE_MODEL_STORE": str(store),
        "GRAINSERVE_MODELS": "probe",
        "GRAINSERVE_SETTLE_SECONDS": "1",
        "GRAINSERVE_DRAIN_SECONDS": "60",
        **getattr(request, "param", {}),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "image.entrypoint"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    asked = Management(f"http://127.0.0.1:{management}", f"http://127.0.0.1:{metrics}/metrics")
    try:
        yield Container(process, f"http://127.0.0.1:{inference}", asked, environment, log)
    finally:
        if process.poll() is None:
            for _ in range(2):  # the second one ends the drain
                process.terminate()
                time.sleep(0.3)
            process.wait(60)


def wait_until_loaded(container: Container) -> None:
    deadline = time.monotonic() + 120
    while not loaded(container):
        assert container.process.poll() is None, container.log.read_text()
        assert time.monotonic() < deadline, container.log.read_text()
        time.sleep(0.3)


def loaded(container: Container) -> bool:
    try:
        if "probe" not in container.management.models():
            return False
        workers = container.management.default("probe")["workers"]
    except Unreachable:
        return False
    return [worker["status"] for worker in workers] == ["READY"] * WORKERS


def test_requests_in_flight_and_late_ones_are_answered_before_the_end(container: Container) -> None:
    told = container.run("ready")
    assert told.returncode == 1
    assert "does not answer" in told.stdout or "no READY worker" in told.stdout or "no model" in told.stdout
    wait_until_loaded(container)
    assert container.run("ready").returncode == 0
    java = psutil.Process(container.process.pid).children()[0]
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in java.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ("127.0.0.1", int(container.environment["GRAINSERVE_MANAGEMENT_PORT"])) in listening
    assert {port for ip, port in listening if ip != "127.0.0.1"} == {
        int(container.environment[name]) for name in ("GRAINSERVE_PORT", "GRAINSERVE_METRICS_PORT")
    }

    with ThreadPoolExecutor(9) as pool:
        # An odd number, so that at the end one worker is idle and the other is busy.
        answers = [pool.submit(container.predict, f"image-{i}") for i in range(7)]
        while container.management.requests_taken() < 7:
            time.sleep(0.05)
        container.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)  # while it settles
        told = container.run("ready")
        assert (told.returncode, told.stdout.strip()) == (1, "draining")
        answers += [pool.submit(container.predict, f"late-{i}") for i in range(2)]
        given = [answer.result() for answer in answers]
    assert given == [(200, f"image-{i}") for i in range(7)] + [(200, f"late-{i}") for i in range(2)]
    assert container.process.wait(60) == 0
    assert not java.is_running()
    with pytest.raises(Unreachable):
        container.management.models()

    lines = [json.loads(line) for line in container.log.read_text().splitlines()]
    events = [line for line in lines if "event" in line]
    assert sorted(line["imageId"] for line in events) == sorted(text for _, text in given)
    assert all((line["model"], line["version"]) == ("probe", "1.0") for line in events)
    assert all((line["event"], line["status"]) == ("answered", 200) for line in events)
    said = [line for line in lines if line.get("message", "").startswith("said")]
    assert said[0]["message"] == 'said "so" \\ with \ttabs and ünïcode'
    assert (said[0]["model"], said[0]["version"]) == ("probe", "1.0")
    # A request costs its own two lines and none of TorchServe's.
    begin, end = (lines.index(line) for line in (events[0], events[-1]))
    assert end - begin + 1 <= 2 * len(given)


@pytest.mark.parametrize("container", [{"GRAINSERVE_DRAIN_SECONDS": "3"}], indirect=True)
def test_a_request_that_outlasts_the_drain_is_no_drain(container: Container) -> None:
    """The queue is empty, and one of two workers does not answer."""
    wait_until_loaded(container)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(container.predict, "long")
        while container.management.requests_taken() < 1:
            time.sleep(0.05)
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(60) == 1
        with pytest.raises(requests.ConnectionError):
            answer.result()
    lines = [json.loads(line) for line in container.log.read_text().splitlines()]
    (said,) = [line for line in lines if line.get("logger") == "image" and line["level"] == "ERROR"]
    assert "not idle" in said["message"]
