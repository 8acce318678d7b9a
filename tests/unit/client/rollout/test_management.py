"""What management says of versions."""

from __future__ import annotations

from grainserve.rollout.management import Management
from tests.unit.client.fake_torchserve import FakeTorchServe


def test_a_worker_that_has_not_started_has_no_process_id(torchserve: FakeTorchServe) -> None:
    """TorchServe says -1, which to `kill` would mean every process."""
    workers = [{"status": "UNLOADING", "pid": -1}, {"status": "READY", "pid": 70}, {"status": "UNLOADING"}]
    entry = {"modelName": "m", "modelVersion": "1", "modelUrl": "a.mar", "minWorkers": 2, "workers": workers}
    torchserve.management = {"/models/m": [entry], "/models/m/all": [entry]}
    found = Management(torchserve.url).versions("m")["1"]
    assert [worker.pid for worker in found.workers] == [None, 70, None]
    assert not found.ready
