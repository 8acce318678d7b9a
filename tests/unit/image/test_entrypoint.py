"""The entrypoint with a stand-in for Java; tests/contract runs it with the real TorchServe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from image import entrypoint
from tools import ports, properties
from tools.mar import ROOT

JAVA = """#!{python}
import json, os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
if sys.argv[1] == "-version":
    print('openjdk version "17.0.1"')
    sys.exit()
file = sys.argv[sys.argv.index("-f") + 1]
settings = dict(line.split("=", 1) for line in open(file).read().splitlines())
models = {{}}
print("not JSON", flush=True)
print(json.dumps({{"message": "JSON"}}), flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("?")[0].split("/")[-2]
        if self.path == "/metrics":
            answer = []
        elif self.path.startswith("/models?"):
            answer = {{"models": [{{"modelName": name}} for name in models]}}
        else:
            answer = [{{"modelName": name, "modelVersion": "1.0", "workers": [],
                        "jobQueueStatus": {{"pendingRequests": int(os.environ["FAKE_PENDING"])}}}}]
        self.reply(200, answer)

    def do_POST(self):
        name = self.path.split("url=")[1].split(".mar")[0]
        here = os.path.exists(os.path.join(settings["model_store"], name + ".mar"))
        models.update({{name: 1}} if here else {{}})
        self.reply(202 if here else 404, {{"message": "no such archive"}})

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


for name in ("management", "metrics"):
    port = int(settings[name + "_address"].rsplit(":", 1)[1])
    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever, daemon=True).start()
end = time.monotonic() + float(os.environ["FAKE_SECONDS"])
while time.monotonic() < end and not os.path.exists(os.environ["FAKE_END"]):
    time.sleep(0.05)
sys.exit(7)
"""


class Container:
    def __init__(self, folder: Path, **environment: str) -> None:
        java = folder / "java" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(JAVA.format(python=sys.executable))
        java.chmod(0o755)
        (folder / "store").mkdir()
        (folder / "store" / "swapped.mar").touch()
        inference, management, metrics, grpc = ports.choose_free(4)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "image.entrypoint"],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "JAVA_HOME": str(folder / "java"),
                    "TMPDIR": str(folder),
                    "GRAINSERVE_PORT": str(inference),
                    "GRAINSERVE_MANAGEMENT_PORT": str(management),
                    "GRAINSERVE_METRICS_PORT": str(metrics),
                    "GRAINSERVE_GRPC_PORT": str(grpc),
                    "GRAINSERVE_MODEL_STORE": str(folder / "store"),
                    "GRAINSERVE_SETTLE_SECONDS": "0",
                    "FAKE_SECONDS": "30",
                    "FAKE_END": str(folder / "end"),
                    "FAKE_PENDING": "0",
                    **environment,
                },
            )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def said(self, words: str) -> bool:
        return any(words in line["message"] for line in self.lines())

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 20
        while not self.said(words):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def test_it_registers_serves_and_ends_after_a_drain(tmp_path: Path) -> None:
    # A container that died in its drain left this: /tmp may be a volume.
    (tmp_path / "grainserve-draining").touch()
    container = Container(tmp_path, GRAINSERVE_MODELS="swapped")
    container.wait_for("swapped.mar is registered")
    assert not (tmp_path / "grainserve-draining").exists()
    assert container.process.poll() is None
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(20) == 0
    assert container.said("drained in")
    (line,) = [line for line in container.lines() if line["message"] == "not JSON"]
    assert line["logger"] == "java"
    assert {"message": "JSON"} in container.lines()


def test_a_second_signal_gives_up_what_waits(tmp_path: Path) -> None:
    container = Container(tmp_path, GRAINSERVE_MODELS="swapped", FAKE_PENDING="3")
    container.wait_for("swapped.mar is registered")
    began = time.monotonic()
    container.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert container.process.poll() is None
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(20) == 1
    assert time.monotonic() - began < 15
    assert container.said("given up, requests in queues: 3")


def test_a_drain_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    container = Container(tmp_path, GRAINSERVE_MODELS="swapped", FAKE_PENDING="3", GRAINSERVE_DRAIN_SECONDS="0.5")
    container.wait_for("swapped.mar is registered")
    container.process.send_signal(signal.SIGTERM)
    assert container.process.wait(20) == 1
    assert container.said("requests in queues: 3")


def test_java_that_ends_in_a_drain_is_an_error(tmp_path: Path) -> None:
    container = Container(tmp_path, GRAINSERVE_MODELS="swapped", FAKE_PENDING="3")
    container.wait_for("swapped.mar is registered")
    container.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    (tmp_path / "end").touch()
    assert container.process.wait(20) == 1
    assert container.said("exit code 7")


@pytest.mark.parametrize("variable", ["GRAINSERVE_SETTLE_SECONDS", "GRAINSERVE_DRAIN_SECONDS"])
def test_limits_of_a_drain_that_are_none_are_said_at_the_start(tmp_path: Path, variable: str) -> None:
    container = Container(tmp_path, **{variable: "soon"})
    assert container.process.wait(20) == 1
    assert container.said(f"{variable}=soon is no number of seconds")


def test_it_ends_when_java_does(tmp_path: Path) -> None:
    container = Container(tmp_path, FAKE_SECONDS="1")
    assert container.process.wait(20) == 1
    assert container.said("exit code 7")


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    container = Container(tmp_path, GRAINSERVE_MODELS="swapped missing")
    assert container.process.wait(20) == 1
    assert container.said("no such archive")


def test_management_and_grpc_stay_on_loopback() -> None:
    in_force = entrypoint.settings({"GRAINSERVE_PORT": "18080"})
    assert in_force["inference_address"] == "http://0.0.0.0:18080"
    assert in_force["metrics_address"] == "http://0.0.0.0:8082"
    assert in_force["management_address"] == "http://127.0.0.1:8081"
    assert (in_force["grpc_inference_address"], in_force["grpc_management_address"]) == ("127.0.0.1", "127.0.0.1")
    changed = {key for key, value in properties.read(properties.CONFIG).items() if in_force[key] != value}
    assert changed == {"inference_address", "metrics_address", "model_store", "metrics_config"}
    with pytest.raises(ValueError, match="invalid literal"):
        entrypoint.settings({"GRAINSERVE_PORT": "http"})


def test_the_images_archives_replace_their_older_selves_only(tmp_path: Path) -> None:
    archives, store = tmp_path / "models", tmp_path / "store"
    archives.mkdir()
    store.mkdir()
    (archives / "sam_tiny.mar").write_text("new")
    (store / "sam_tiny.mar").write_text("old")
    (store / "sam_tiny-swapped-7.mar").write_text("swapped")
    entrypoint.stock(store, archives)
    assert {file.name: file.read_text() for file in store.iterdir()} == {
        "sam_tiny.mar": "new",
        "sam_tiny-swapped-7.mar": "swapped",
    }
