"""Runs one scenario: times stock and ours in turn, then measures memory, then the agreement of the masks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import Sam

from benchmarks.against_stock import fidelity, memory, systems
from benchmarks.against_stock.pictures import Picture
from benchmarks.against_stock.scenarios import Scenario
from benchmarks.against_stock.stages import STAGES, StageClock
from benchmarks.against_stock.subjects import Subject
from benchmarks.against_stock.systems import STOCK, Skipped, System
from grain_handler.masks import Mask
from grain_handler.sam.mask_settings import MaskSettings

STOCK_MEMORY_POINTS = 12
"""Most points along a side with which stock's peak is measured on the CPU (64 points a batch, three batches). Batches
follow each other in the same memory: 64 and 144 points differ by 0.4 %."""

ADAPTIVE = "adaptive"


@dataclass(frozen=True)
class Plan:
    """The settings of all measurements.

    Attributes:
        device: device to measure on.
        repeats: runs of each system.
        slow_s: seconds; a system whose first run takes longer is run once.
        folder: folder for files that processes hand each other.
        say: receives messages of progress.
    """

    device: torch.device
    repeats: int
    slow_s: float
    folder: Path
    say: Callable[[str], None]


@dataclass
class Runs:
    """One system's runs.

    Attributes:
        system: the system.
        settings: settings of the generator.
        seconds: time of every run, s.
        stages: seconds by stage of every run; on a GPU, of one more run that waits after each stage.
        masks: masks of the last run.
    """

    system: System
    settings: MaskSettings
    seconds: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds of the runs."""
        return statistics.median(self.seconds)

    def median_stages(self) -> dict[str, float]:
        """Stages of the run whose time is nearest to the median; on a GPU, of the run that waits after each stage."""
        if len(self.stages) < len(self.seconds):
            chosen = self.stages[-1]
        else:
            chosen = min(zip(self.seconds, self.stages, strict=True), key=lambda run: abs(run[0] - self.median))[1]
        return {stage: round(chosen[stage], 5) for stage in STAGES if stage in chosen}


class Bench:
    """Measures scenarios; keeps the systems of the present model and stock's memory.

    Args:
        plan: settings of all measurements.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._built: dict[str, System] = {}
        self._warm: set[tuple[str, int, tuple[int, ...]]] = set()
        self._sam: tuple[str, Sam] | None = None
        self._stock_peaks: dict[tuple[str, str], dict[str, float]] = {}

    def scenario(self, scenario: Scenario, subject: Subject, picture: Picture) -> list[dict[str, Any]]:
        """Returns one case for each precision, and one for adaptive points."""
        settings = MaskSettings(
            points_per_side=scenario.points_per_side,
            pred_iou_thresh=subject.pred_iou_thresh,
            stability_score_thresh=subject.stability_score_thresh,
        )
        wanted = dict.fromkeys((STOCK, *scenario.precisions, *scenario.rivals), settings)
        runs, skipped = {}, {}
        for name, asked in wanted.items():
            try:
                runs[name] = Runs(self._system(name, subject), asked)
            except Skipped as reason:
                skipped[name] = str(reason)
                self.plan.say(f"  {name} is left out: {reason}")
        if scenario.adaptive:
            runs[ADAPTIVE] = Runs(runs["fp32"].system, replace(settings, points="adaptive"))
        self._take_turns(runs, picture)
        peaks = self._peaks(scenario, subject, picture, runs)
        rivals: dict[str, Any] = {name: {"skipped": skipped[name]} for name in scenario.rivals if name in skipped}
        for name in scenario.rivals:
            if name in runs:
                rivals[name] = self._beside(runs[STOCK], runs[name], peaks.get(name))
        cases = []
        for name in (*scenario.precisions, *([ADAPTIVE] if scenario.adaptive else [])):
            if name in skipped:
                continue
            case = self._case(scenario, picture, name, runs, peaks)
            if rivals and name == scenario.precisions[0]:
                case["rivals"] = rivals
            cases.append(case)
        return cases

    def _system(self, name: str, subject: Subject) -> System:
        if self._sam is None or self._sam[0] != subject.name:
            self._built.clear()
            self._warm.clear()
            self._sam = (subject.name, subject.load(self.plan.device))
        if name not in self._built:
            self._built[name] = systems.build(name, self._sam[1])
        return self._built[name]

    def _take_turns(self, runs: dict[str, Runs], picture: Picture) -> None:
        """Runs every system once, then every system again: a machine that slows down slows all of them."""
        device = self.plan.device
        for name, run in runs.items():
            # On a GPU the first full run chooses kernels; on the CPU a few points fill all caches.
            points = run.settings.points_per_side if device.type == "cuda" else memory.WARM_UP_POINTS
            if (name, points, picture.image.shape) not in self._warm:
                run.system.segment(picture.image, replace(run.settings, points_per_side=points))
                self._warm.add((name, points, picture.image.shape))
        for turn in range(self.plan.repeats):
            for name, run in runs.items():
                if turn and run.seconds[0] > self.plan.slow_s:
                    continue
                clock = StageClock(device)
                began = _now(device)
                if device.type == "cuda":
                    answer = run.system.segment(picture.image, run.settings)
                else:
                    answer = run.system.watch(clock, picture.image, run.settings)
                    run.stages.append(clock.seconds)
                run.seconds.append(_now(device) - began)
                self.plan.say(f"  {name}, run {turn + 1}: {run.seconds[-1]:.2f} s")
                if turn == 0:
                    run.masks = run.system.masks(answer)
        if device.type == "cuda":
            for run in runs.values():
                clock = StageClock(device)
                run.system.watch(clock, picture.image, run.settings)
                run.stages.append(clock.seconds)

    def _peaks(
        self, scenario: Scenario, subject: Subject, picture: Picture, runs: dict[str, Runs]
    ) -> dict[str, dict[str, float]]:
        """Returns the peak memory of each system that was run; empty if it is not measured."""
        if not scenario.memory:
            return {}
        plan, peaks = self.plan, {}
        for name, run in runs.items():
            key = (subject.name, picture.name)
            if name == STOCK and key in self._stock_peaks:
                peaks[name] = self._stock_peaks[key]
                continue
            points = run.settings.points_per_side
            if name == STOCK and plan.device.type == "cpu":
                points = min(points, STOCK_MEMORY_POINTS)
            asked = replace(run.settings, points_per_side=points)
            system = "fp32" if name == ADAPTIVE else name
            peaks[name] = memory.peak(system, subject, picture.image, asked, device=plan.device, folder=plan.folder)
            plan.say(f"  {name}: {peaks[name]['peak_mib']:.0f} MiB above the loaded model")
            if name == STOCK:
                self._stock_peaks[key] = peaks[name]
        return peaks

    def _case(
        self, scenario: Scenario, picture: Picture, name: str, runs: dict[str, Runs], peaks: dict[str, dict[str, float]]
    ) -> dict[str, Any]:
        stock, ours = runs[STOCK], runs[name]
        height, width = picture.image.shape[:2]
        agreement = fidelity.agreement(stock.masks, ours.masks)
        grains_stock, d50_stock = fidelity.d50(stock.masks, height, width)
        grains_ours, d50_ours = fidelity.d50(ours.masks, height, width)
        case = {
            "scenario": scenario.name,
            "groups": list(scenario.groups),
            "model": scenario.model,
            "device": self.plan.device.type,
            "precision": "fp32" if name == ADAPTIVE else name,
            "adaptive": name == ADAPTIVE,
            "points_per_side": scenario.points_per_side,
            "image": picture.name,
            "width": width,
            "height": height,
            "grains": picture.grains,
            "repeats": {"stock": len(stock.seconds), "ours": len(ours.seconds)},
            "stock_seconds": round(stock.median, 5),
            "ours_seconds": round(ours.median, 5),
            "stock_seconds_each": [round(seconds, 5) for seconds in stock.seconds],
            "ours_seconds_each": [round(seconds, 5) for seconds in ours.seconds],
            "ratio": round(stock.median / ours.median, 3),
            # Once, in a separate process that keeps freed memory as a worker does.
            "ours_seconds_as_served": peaks.get(name, {}).get("seconds"),
            "images_per_second": {"stock": round(1 / stock.median, 5), "ours": round(1 / ours.median, 5)},
            "masks_stock": len(stock.masks),
            "masks_ours": len(ours.masks),
            "count_mismatch": abs(len(stock.masks) - len(ours.masks)),
            **_agreement(agreement),
            "grains_stock": grains_stock,
            "grains_ours": grains_ours,
            "d50_stock": d50_stock,
            "d50_ours": d50_ours,
            "d50_change": fidelity.relative_change(d50_stock, d50_ours),
            "peak_mib_stock": peaks.get(STOCK, {}).get("peak_mib"),
            "peak_mib_ours": peaks.get(name, {}).get("peak_mib"),
            "loaded_mib_stock": peaks.get(STOCK, {}).get("loaded_mib"),
            "loaded_mib_ours": peaks.get(name, {}).get("loaded_mib"),
            "stages_stock": stock.median_stages(),
            "stages_ours": ours.median_stages(),
        }
        if name == ADAPTIVE:
            case["versus_exact"] = {
                "exact_seconds": round(runs["fp32"].median, 5),
                "ratio": round(runs["fp32"].median / ours.median, 3),
                "masks_exact": len(runs["fp32"].masks),
                **_agreement(fidelity.agreement(runs["fp32"].masks, ours.masks)),
            }
        return case

    def _beside(self, stock: Runs, rival: Runs, peaks: dict[str, float] | None) -> dict[str, Any]:
        return {
            "seconds": round(rival.median, 5),
            "seconds_each": [round(seconds, 5) for seconds in rival.seconds],
            "ratio": round(stock.median / rival.median, 3),
            "masks": len(rival.masks),
            **_agreement(fidelity.agreement(stock.masks, rival.masks)),
            **(peaks or {"peak_mib": None, "loaded_mib": None}),
        }


def _agreement(agreement: fidelity.Agreement) -> dict[str, Any]:
    """Returns an agreement under the names that the results use."""
    figures = asdict(agreement)
    unmatched: Sequence[int] = figures.pop("unmatched")
    return {
        "unmatched": {"stock": unmatched[0], "ours": unmatched[1]},
        "min_matched_iou": figures["min_iou"],
        "mean_matched_iou": figures["mean_iou"],
        "max_abs_predicted_iou_diff": figures["max_predicted_iou_diff"],
        "max_abs_stability_diff": figures["max_stability_diff"],
    }


def _now(device: torch.device) -> float:
    """Waits until the device has done its work, and returns the time, s."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
