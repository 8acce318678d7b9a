"""Tests claims of docs/security.md with a real TorchServe: refusals, hostile requests, and the contents of logs."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from typing import Any

import pytest
import requests
from prometheus_client import CollectorRegistry, generate_latest

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.jobs.store import JobStore
from grainserve.monitoring.dispatchers import measure
from grainserve.monitoring.exporter import Source, bucket_gauges, serving, torchserve_gauges
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe as Inference
from grainserve.torchserve.management import Management
from tests.contract.conftest import Pack
from tests.unit.handler.pictures import encoded, gradient
from tools.stack import Stack
from tools.torchserve import TorchServe

PNG = encoded(gradient(), "PNG")
TIMEOUT = 120
JSON = {"Content-Type": "application/json"}


def workers(server: TorchServe, model: str) -> set[int]:
    description = server.describe(model)
    assert description is not None
    return {worker["pid"] for worker in description["workers"]}


def test_the_inference_and_metrics_addresses_manage_nothing(server: TorchServe, pack_probe: Pack) -> None:
    server.register(pack_probe("1.0", "one"))
    stored = pack_probe("2.0", "two")
    shutil.copyfile(stored, server.model_store / stored.name)
    before = workers(server, "probe")
    for address in (server.inference, server.metrics):
        for method, path in (
            ("POST", f"models?url={stored.name}&initial_workers=1&synchronous=true"),
            ("POST", "models?url=https://example.org/x.mar"),
            ("GET", "models"),
            ("GET", "models/probe"),
            ("PUT", "models/probe?min_worker=0&max_worker=0"),
            ("PUT", "models/probe/1.0/set-default"),
            ("DELETE", "models/probe/1.0"),
            ("DELETE", "models/probe"),
            ("POST", "workflows?url=x.war"),
            ("GET", "token?type=management"),
        ):
            answer = requests.request(method, f"{address}/{path}", timeout=TIMEOUT)
            assert answer.status_code in (404, 405), (method, path, answer.text)
    assert server.describe("probe", "2.0") is None
    assert workers(server, "probe") == before


def test_grpc_of_inference_manages_nothing(server: TorchServe) -> None:
    grpc: Any = pytest.importorskip("grpc")
    ports = server.ports

    def list_models(port: int) -> Any:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels")
            return call(b"", timeout=TIMEOUT)

    assert b'"models"' in list_models(ports.grpc_management)
    with pytest.raises(grpc.RpcError) as refusal:
        list_models(ports.grpc_inference)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", b"100000000000"),  # bytes() of this number would be a hundred gigabytes
        ("image", b"[1, 2]"),
        ("body", b"100000000000"),
        ("label", b'{"a": 1}'),
    ],
)
def test_a_part_that_says_it_is_json_does_not_hurt_the_worker(stack: Stack, name: str, value: bytes) -> None:
    before = workers(stack.torchserve, "sam_tiny")
    parts: dict[str, Any] = {"image": ("image", PNG), name: ("x", value, "application/json")}
    answer = requests.post(f"{stack.torchserve.inference}/predictions/sam_tiny", files=parts, timeout=TIMEOUT)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["code"] in ("invalid_json", "invalid_option")
    assert workers(stack.torchserve, "sam_tiny") == before


def test_a_refusal_does_not_outgrow_what_ends_a_worker(stack: Stack) -> None:
    """Each of these characters took six bytes of the message: 70 MB, and TorchServe ends the worker at 64 MiB."""
    before = workers(stack.torchserve, "sam_tiny")
    body = b'{"image": "", "' + "\u200b".encode() * 10_000_000 + b'": 1}'
    address = f"{stack.torchserve.inference}/predictions/sam_tiny"
    answer = requests.post(address, data=body, headers=JSON, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_option")
    assert len(answer.content) < 1000
    assert workers(stack.torchserve, "sam_tiny") == before


def test_depth_is_refused_wherever_it_is_met(stack: Stack) -> None:
    address = f"{stack.torchserve.inference}/predictions/sam_tiny"
    for depth in (*range(900, 1000, 10), 100_000):
        body = '{"image": "", "label": ' + "[" * depth + "]" * depth + "}"
        answer = requests.post(address, data=body, headers=JSON, timeout=TIMEOUT)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]["code"] in ("invalid_json", "invalid_option")


def test_torchserve_and_its_workers_log_no_secret(stack: Stack) -> None:
    server, secret = stack.torchserve, "c2VjcmV0LW9mLWEtbGFi"
    address = f"{server.inference}/predictions/sam_tiny"
    headers = {"Authorization": f"Bearer {secret}", "Cookie": f"session={secret}", "X-Api-Key": secret}
    ids = [f"logged-{number}" for number in range(3)]
    bodies = [json.dumps({"image": image, "imageId": ids[0]}) for image in ("", "!", secret)]
    for body in bodies:
        assert requests.post(address, data=body, headers=headers | JSON, timeout=TIMEOUT).status_code >= 400
    assert requests.post(f"{server.inference}/nowhere", headers=headers, timeout=TIMEOUT).status_code == 404
    logs = list(server.logs.glob("*.log"))
    deadline = time.monotonic() + 20  # logs are written after the answers
    while not any(b"/nowhere" in log.read_bytes() for log in logs):
        assert time.monotonic() < deadline, "the requests were not logged at all"
        time.sleep(0.1)
    assert [log.name for log in logs if secret.encode() in log.read_bytes()] == []


@pytest.mark.usefixtures("environment")
def test_figures_name_no_image_and_nobody(stack: Stack) -> None:
    bucket, submitter, label = (f"{what}-{uuid.uuid4().hex}" for what in ("bucket", "lab", "quartz"))
    stack.emulator.client().create_bucket(bucket)
    store, server, registry = JobStore(Bucket(bucket)), stack.torchserve, CollectorRegistry()
    options = {"label": label, "points_per_side": 2}
    ids = [
        store.submit(PNG if good else b"none", model="sam_tiny", version=None, options=options, submitter=submitter)
        for good in (True, False)
    ]
    dispatcher = Dispatcher(store, Inference(server.inference, server.management), listing_interval=0.1)
    measure(dispatcher, registry)
    with dispatcher:
        deadline = time.monotonic() + TIMEOUT
        while not all(store.job(image_id).ended for image_id in ids):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    ids.append(store.submit(PNG, model="sam_tiny", version=None, options=options, submitter=submitter))
    looks = {
        "torchserve": lambda: torchserve_gauges(Management(server.management)),
        "bucket": lambda: bucket_gauges(store),
    }
    with serving([Source(name, look, 0.1) for name, look in looks.items()], "127.0.0.1", 0) as exporter:
        while any(f'exporter_up{{source="{name}"}} 1.0' not in (seen := _read(exporter)) for name in looks):
            time.sleep(0.1)
    figures = {
        "dispatcher": (generate_latest(registry).decode(), 'grainserve_jobs_ended{how="done"} 1.0'),
        "exporter": (seen, "grainserve_pending_jobs 1.0"),
        "torchserve": (_read(f"{server.metrics}/metrics"), "grainserve_"),
    }
    for source, (text, told) in figures.items():
        assert told in text, source
        assert [name for name in (*ids, bucket, submitter, label) if name in text] == [], source


def _read(address: str) -> str:
    return requests.get(address, timeout=TIMEOUT).text
