"""What `make serve` loads after a restart: what is declared, not what a new folder begins with."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from grainserve.rollout.archives import FOLDER
from grainserve.storage import Bucket
from tests.contract.conftest import Pack
from tests.unit.client.rollout.imitation import ImitatedManagement
from tests.unit.client.rollout.site import Site
from tools.emulator import Emulator
from tools.problem import Problem
from tools.stack import Ports, Stack

Restarted = Callable[[list[str]], Stack]


@pytest.fixture
def bucket(emulator: Emulator, tmp_path: Path, pack_probe: Pack, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A weights bucket that declares sam_tiny 2.0, swapped in at a TorchServe that is gone."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    monkeypatch.setenv("GRAINSERVE_WEIGHTS_BUCKET", name := f"weights-{uuid.uuid4().hex}")
    emulator.create_bucket(name)
    (tmp_path / "gone").mkdir()
    gone = Site(ImitatedManagement(tmp_path / "gone"), name, tmp_path)
    gone.rollout().swap(pack_probe("2.0", "two", model="sam_tiny"))
    return Bucket(name)


@pytest.fixture
def restarted(emulator: Emulator, tmp_path: Path) -> Restarted:
    """A stack on that bucket whose model store is empty."""
    return lambda said: Stack(
        tmp_path, model_store=tmp_path / "store", ports=Ports.choose_free(), emulator=emulator, say=said.append
    )


@pytest.mark.usefixtures("bucket")
def test_what_is_declared_is_served_and_said(restarted: Restarted) -> None:
    said: list[str] = []
    with restarted(said) as stack:
        url = f"{stack.torchserve.inference}/predictions/sam_tiny"
        assert requests.post(url, data=b"x", timeout=60).json()["version"] == "2.0"
        assert stack.torchserve.describe("sam_tiny", "1.0") is None
    assert "Loading what models.yaml in the weights bucket declares: sam_tiny 2.0 ..." in said


def test_what_cannot_be_loaded_is_told_with_the_way_out(bucket: Bucket, restarted: Restarted) -> None:
    for name in bucket.names(FOLDER):
        bucket.delete(name)
    stack = restarted([])
    with pytest.raises(Problem, match=r"models.yaml declares cannot be loaded: .*sam_tiny.* delete .*models\.yaml"):
        stack.start()
    assert not stack.torchserve.running
    assert stack.emulator.running, "it is not this stack's"
