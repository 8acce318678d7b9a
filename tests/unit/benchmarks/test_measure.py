"""The bench with systems that only record their calls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.against_stock import chart, report, systems
from benchmarks.against_stock.measure import Bench, Plan, Runs
from benchmarks.against_stock.pictures import Picture
from benchmarks.against_stock.scenarios import Scenario, all_scenarios, quick
from benchmarks.against_stock.stages import StageClock
from benchmarks.against_stock.subjects import Subject
from grain_handler.masks import Mask
from grain_handler.sam.mask_settings import MaskSettings

PICTURE = Picture("squares", np.zeros((100, 200, 3), np.uint8), grains=2)
GRAINS = [Mask(x, 10, np.ones((20, 20), bool), 0.9, 0.95) for x in (10, 60)]


class Fake(systems.System):
    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal

    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        self.journal.append(
            f"{self.name} {settings.points_per_side}{' adaptive' if settings.points == 'adaptive' else ''}"
        )
        time.sleep(0.002)  # a time to divide by
        return GRAINS[:1] if settings.points == "adaptive" or self.name == "bf16" else GRAINS

    def masks(self, answer: Any) -> list[Mask]:
        return list(answer)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def build(name: str, sam: Any) -> systems.System:
        if name == "segment-anything-fast":
            return systems.segment_anything_fast(sam)
        return Fake(name, asked)

    monkeypatch.setattr(systems, "build", build)
    monkeypatch.setattr(Subject, "load", lambda *_: torch.nn.Identity())
    return asked


def run(scenario: Scenario, tmp_path: Path, *, slow_s: float) -> list[dict[str, Any]]:
    subject = Subject("sam_tiny", tmp_path / "none.pth", 0.3, 0.6, "none")
    bench = Bench(Plan(torch.device("cpu"), 2, slow_s, tmp_path, lambda _: None))
    return bench.scenario(scenario, subject, PICTURE)


def scenario(**changes: Any) -> Scenario:
    given = {"points_per_side": 8, "precisions": ("fp32", "bf16"), "groups": ("headline",), **changes}
    return Scenario("squares", "sam_tiny", lambda: PICTURE, **given)


def test_systems_take_turns(journal: list[str], tmp_path: Path) -> None:
    run(scenario(adaptive=True), tmp_path, slow_s=60)
    turn = ["stock 8", "fp32 8", "bf16 8", "fp32 8 adaptive"]
    warm_up = [line.replace("8", "2") for line in turn]
    assert journal == warm_up + turn + turn


def test_what_is_slow_runs_once(journal: list[str], tmp_path: Path) -> None:
    (case, _) = run(scenario(), tmp_path, slow_s=0)
    assert journal.count("stock 8") == 1
    assert case["repeats"] == {"stock": 1, "ours": 1}


def test_cases_tell_what_was_asked_and_found(journal: list[str], tmp_path: Path) -> None:
    exact, lossy, adaptive = run(scenario(adaptive=True), tmp_path, slow_s=60)
    assert (exact["precision"], lossy["precision"], adaptive["precision"]) == ("fp32", "bf16", "fp32")
    assert [case["adaptive"] for case in (exact, lossy, adaptive)] == [False, False, True]
    assert (exact["width"], exact["height"], exact["grains"]) == (200, 100, 2)
    assert (exact["masks_stock"], exact["masks_ours"], exact["count_mismatch"]) == (2, 2, 0)
    assert exact["min_matched_iou"] == 1.0
    assert exact["d50_change"] == 0.0
    assert (lossy["count_mismatch"], lossy["unmatched"]) == (1, {"stock": 1, "ours": 0})
    assert adaptive["versus_exact"]["unmatched"] == {"stock": 1, "ours": 0}
    assert exact["peak_mib_ours"] is None


def test_a_rival_that_cannot_run_says_why(journal: list[str], tmp_path: Path) -> None:
    cases = run(scenario(rivals=("transformers", "segment-anything-fast")), tmp_path, slow_s=60)
    rivals = cases[0]["rivals"]
    assert "FastSAM" in rivals["segment-anything-fast"]["skipped"]
    assert rivals["transformers"]["masks"] == 2
    assert "rivals" not in cases[1]


def test_stages_are_those_of_the_median_run() -> None:
    runs = Runs(Fake("stock", []), MaskSettings(), [3.0, 1.0, 2.0], [{"nms": 3.0}, {"nms": 1.0}, {"nms": 2.0}])
    assert runs.median_stages() == {"nms": 2.0}
    split_apart = Runs(Fake("stock", []), MaskSettings(), [3.0, 1.0], [{"nms": 9.0}])
    assert split_apart.median_stages() == {"nms": 9.0}


def test_scenarios_have_names_of_their_own() -> None:
    for gpu in (False, True):
        found = all_scenarios(["sam_vit_h", "sam_tiny"], [16, 32, 64], gpu)
        for some in (found, quick(found)):
            names = [one.name for one in some]
            assert len(set(names)) == len(names)
        assert any("rivals" in one.groups for one in quick(found))


def test_a_system_without_marks_is_all_other() -> None:
    clock = StageClock(torch.device("cpu"))
    Fake("transformers", []).watch(clock, PICTURE.image, MaskSettings())
    assert set(clock.seconds) == {"other"}


def test_what_was_measured_can_be_shown(journal: list[str], tmp_path: Path) -> None:
    """This also holds without memory figures, and with a rival that was left out."""
    rivals = ("transformers", "segment-anything-fast")
    cases = run(scenario(adaptive=True, rivals=rivals, groups=("headline", "points")), tmp_path, slow_s=60)
    chart.draw(cases, tmp_path / "automask.png", "a caption")
    assert (tmp_path / "automask.png").read_bytes().startswith(b"\x89PNG")
    assert len(report.terminal(cases)) == 2
    results = {
        "machine": {"device_name": "a CPU", "processor": "some", "cores": 2, "threads": 2},
        "versions": {"torch": "2"},
        "date": "2026-11-21",
        "gomp_spincount": "3000",
        "command": "python -m benchmarks.automask",
        "slow_s": 60,
        "models": {"sam_tiny": {"weights": "none", "pred_iou_thresh": 0.3, "stability_score_thresh": 0.6}},
        "cases": cases,
    }
    text = report.section(results, "images/automask.png", "automask.json")
    assert "FastSAM" in text
    assert "| sam_tiny | bf16 |" in text
    assert "nan" not in text.lower()
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, "a row has other columns than its header"
