"""A few of the random schedules; `make test-faults` runs two hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.run import run_schedule
from tools import ports
from tools.emulator import Emulator


@pytest.fixture
def own_emulator(tmp_path: Path) -> Emulator:
    """An emulator that may be killed."""
    return Emulator(tmp_path / "gcs", port=ports.choose_free(1)[0], log=tmp_path / "gcs.log", say=lambda _: None)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [160, 199, 214])
def test_whatever_dies_every_image_has_one_result_or_one_failure(
    own_emulator: Emulator, tmp_path: Path, seed: int
) -> None:
    with own_emulator:
        row = run_schedule(tmp_path / "world", own_emulator, seed)
    assert row["faults"] == [], row
    assert row["jobs"] >= 28
