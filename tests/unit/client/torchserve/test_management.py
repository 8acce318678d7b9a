"""Management's answers about versions."""

from __future__ import annotations

import pytest

from grainserve.errors import ModelNotFound, TorchServeUnreachable
from grainserve.torchserve.management import Management, ManagementRefused
from tests.unit.client.fake_torchserve import FakeTorchServe


def describe(version: str, *statuses: str) -> dict[str, object]:
    workers = [{"id": str(9000 + index), "status": status} for index, status in enumerate(statuses)]
    named = {"modelName": "sam_tiny", "modelVersion": version, "modelUrl": f"{version}.mar"}
    return named | {"minWorkers": len(statuses), "workers": workers}


def test_models_versions_and_readiness(torchserve: FakeTorchServe) -> None:
    torchserve.management = {
        "/models?limit=100": {"nextPageToken": "1", "models": [{"modelName": "sam_tiny", "modelUrl": "a.mar"}]},
        "/models?limit=100&next_page_token=1": {"models": [{"modelName": "sam_vit_b", "modelUrl": "b.mar"}]},
        "/models/sam_tiny": [describe("1.0", "READY")],
        "/models/sam_tiny/all": [describe("1.0", "READY", "UNLOADING"), describe("2.0", "UNLOADING")],
    }
    management = Management(torchserve.url)
    assert management.models() == ["sam_tiny", "sam_vit_b"]
    found = management.versions("sam_tiny")
    assert {name: (each.default, len(each.workers), each.workers_ready) for name, each in found.items()} == {
        "1.0": (True, 2, 1),
        "2.0": (False, 1, 0),
    }
    assert management.ready("sam_tiny", None)
    assert not management.ready("sam_tiny", "2.0")
    with pytest.raises(ModelNotFound, match=r"sam_tiny version 3\.0"):
        management.ready("sam_tiny", "3.0")
    assert management.versions("sam_vit_h") == {}
    with pytest.raises(ModelNotFound, match="sam_vit_h"):
        management.ready("sam_vit_h", None)


REFUSALS = [
    (409, b'{"code": 409, "type": "ConflictStatusException", "message": "it is registered"}', ManagementRefused),
    (404, b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found at: m"}', ManagementRefused),
    (404, b'{"code": 404, "type": "ResourceNotFoundException", "message": "not here"}', TorchServeUnreachable),
    (502, b"<html>no upstream</html>", TorchServeUnreachable),
    (200, b"<html>welcome</html>", TorchServeUnreachable),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_each_refusal_has_its_error(
    torchserve: FakeTorchServe, status: int, body: bytes, kind: type[Exception]
) -> None:
    torchserve.script = [(status, body)]
    with pytest.raises(kind) as error:
        Management(torchserve.url).register("m.mar")
    assert type(error.value) is kind


def test_what_describes_a_version_otherwise_is_no_torchserve(torchserve: FakeTorchServe) -> None:
    torchserve.management["/models/sam_tiny"] = [{"modelName": "sam_tiny", "modelVersion": "1.0"}]
    with pytest.raises(TorchServeUnreachable, match="without 'modelUrl'"):
        Management(torchserve.url).load()


def test_a_worker_that_has_not_started_has_no_process_id(torchserve: FakeTorchServe) -> None:
    """TorchServe's answer is -1, which `kill` would take for every process."""
    workers = [{"status": "UNLOADING", "pid": -1}, {"status": "READY", "pid": 70}, {"status": "UNLOADING"}]
    entry = {"modelName": "m", "modelVersion": "1", "modelUrl": "a.mar", "minWorkers": 2, "workers": workers}
    torchserve.management = {"/models/m": [entry], "/models/m/all": [entry]}
    found = Management(torchserve.url).versions("m")["1"]
    assert [worker.pid for worker in found.workers] == [None, 70, None]
    assert not found.complete
