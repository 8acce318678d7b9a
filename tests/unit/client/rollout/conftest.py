"""A site for each test, without a real one's pauses."""

from __future__ import annotations

from pathlib import Path

import pytest

from grainserve.rollout import versions
from tests.unit.client.rollout.imitation import ImitatedManagement
from tests.unit.client.rollout.site import Site


@pytest.fixture
def site(bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(versions, "SETTLE", 0.0)
    monkeypatch.setattr(versions, "LOOK_EVERY", 0.001)
    return Site(ImitatedManagement(tmp_path / "store"), bucket_name, tmp_path)
