"""After a restart `make serve` serves the versions declared before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from grainserve.rollout.declared import Declarations
from grainserve.rollout.swap import Rollout
from grainserve.rollout.versions import Versions
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.management import Management
from tools import mar, ports
from tools.emulator import Emulator
from tools.problem import Problem
from tools.stack import Ports, Stack

pytestmark = pytest.mark.timeout(600)


def stack(folder: Path, words: list[str]) -> Stack:
    """Starts a stack as `make serve` does, in a folder that outlasts it."""
    emulator = Emulator(folder / "gcs", port=ports.choose_free(1)[0], log=folder / "gcs.log", say=words.append)
    return Stack(folder, model_store=folder / "store", ports=Ports.choose_free(), emulator=emulator, say=words.append)


def test_a_version_that_was_swapped_in_is_served_after_a_restart(tmp_path: Path) -> None:
    words: list[str] = []
    with stack(tmp_path, words) as first:
        assert not any("declares" in said for said in words)
        bucket = Bucket(first.environment["GRAINSERVE_WEIGHTS_BUCKET"], first.emulator.client())
        versions = Versions(Management(first.torchserve.management), tmp_path / "store", bucket, words.append)
        Rollout(versions, Declarations(bucket)).swap(mar.pack("sam_tiny", "2.0", out=tmp_path / "sam_tiny-2.0.mar"))
    words.clear()
    with stack(tmp_path, words) as second:
        default = second.torchserve.describe("sam_tiny")
        assert default is not None
        assert default["modelVersion"] == "2.0"
        assert second.torchserve.ready("sam_tiny", "2.0")
        assert second.torchserve.describe("sam_tiny", "1.0") is None
    assert any("models.yaml in the weights bucket declares: sam_tiny 2.0" in said for said in words)


def test_a_declaration_that_cannot_be_read_is_told_with_the_way_back(tmp_path: Path) -> None:
    broken = stack(tmp_path, [])
    with broken.emulator:
        broken.emulator.create_bucket(broken.environment["GRAINSERVE_WEIGHTS_BUCKET"])
        bucket = Bucket(broken.environment["GRAINSERVE_WEIGHTS_BUCKET"], broken.emulator.client())
        bucket.create("models.yaml", b"models: 3", "application/yaml")
    with pytest.raises(Problem, match=r"declares cannot be loaded: .*To begin anew with sam_tiny 1.0, delete .*models"):
        broken.start()
    assert not broken.torchserve.running
    assert not broken.emulator.running
