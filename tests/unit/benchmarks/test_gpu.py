"""benchmarks.gpu on the CPU, with only the packages of a bare GPU machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.on_gpu import checks, pairs
from benchmarks.on_gpu.checks import CHECKS, Bench
from grain_handler.masks import Mask
from tools.mar import ROOT
from tools.problem import Problem

BARE = '''
import runpy, sys
missing, sys.argv = set(sys.argv[1].split(",")), ["benchmarks.gpu", *sys.argv[2:]]

class Without:
    """A finder that does not find them; torch asks for some without importing them."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in missing else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
'''


def with_dependencies(*names: str) -> set[str]:
    """Returns distributions and all their dependencies, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                needed = requires(name) or []
            except ModuleNotFoundError:  # for another system
                continue
            waiting += [re.split(r"[^\w.-]", one)[0] for one in needed if "extra ==" not in one]
    return found


def missing_on_a_bare_machine() -> set[str]:
    """Returns the top-level modules of all other installed distributions."""
    bare = with_dependencies("torch", "torchvision", "segment-anything") | {"grainserve-handler"}  # of the checkout
    return {
        module
        for module, distributions in packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", one).lower() in bare for one in distributions)
    }


@pytest.mark.timeout(1200)
def test_it_runs_where_nothing_but_torch_and_segment_anything_is_installed(tmp_path: Path) -> None:
    missing = missing_on_a_bare_machine()
    assert missing >= {"pydantic", "scipy", "skimage", "google", "ts", "yaml"}
    out = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--model", "small", "--points", "3", "--grains", "12", "--repeats", "1"]
    command = [
        sys.executable,
        "-c",
        BARE,
        ",".join(missing),
        *options,
        "--out",
        str(out),
        "--without",
        "compiled encoder",
        "--minutes",
        "60",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())
    outcomes = {one["check"]: one["outcome"] for one in results["checks"]}
    assert outcomes == dict.fromkeys(CHECKS, "passed") | {"compiled encoder": "left out"}
    assert 0.3 <= results["passing"] <= 0.4
    systems = {row["system"]: row for row in results["systems"]}
    assert {"stock", "stock, bf16 autocast", "ours fp32, grid", "ours bf16, grid", "ours int8, grid"} <= systems.keys()
    ours = systems["ours fp32, grid"]
    assert ours["masks"] == ours["matched"] == systems["stock"]["masks"] > 0
    for name in systems:
        assert f"\n{name} " in done.stdout


def test_without_a_gpu_it_says_how_to_try_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu"])
    with pytest.raises(Problem, match=r"no GPU here.*--device cpu"):
        gpu.parse()


def test_a_check_that_fails_is_told_and_keeps_no_other_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_bench: Bench) -> str:
        checks.hold(False, "seven is not eight")
        return "never"

    def faulty(_bench: Bench) -> str:
        raise RuntimeError("CUDA error: a fault")

    def missing(_bench: Bench) -> str:
        raise checks.Skipped("no compiler")

    monkeypatch.setattr(checks, "CHECKS", {"a": wrong, "b": faulty, "c": missing, "d": lambda _: "well", "e": wrong})
    said: list[str] = []
    found = checks.run(Bench(torch.device("cpu"), {}), ["e"], said.append)
    assert [one["outcome"] for one in found] == ["failed", "failed", "left out", "passed", "left out"]
    assert found[0]["said"] == "seven is not eight"
    assert "CUDA error: a fault" in found[1]["said"]
    assert len(said) == 5


def test_masks_are_paired_one_to_one_the_most_alike_first() -> None:
    def square(x: int, side: int = 10) -> Mask:
        return Mask(x, 0, np.ones((side, side), bool), 0.9, 0.9)

    empty = Mask(0, 0, np.zeros((0, 0), bool), 0.9, 0.9)
    found = pairs.pair([square(0), square(2), square(50), empty], [square(1), square(0), square(90)])
    assert found.matched == 2
    assert found.mean_iou == pytest.approx((1 + 90 / 110) / 2)
    assert pairs.pair([], [square(0)]) == pairs.Pairs(0, 1.0)
