"""Measures the peak memory of one system on one image, in a process that does nothing else.

    python -m benchmarks.against_stock.memory '{"system": "stock", "subject": {…}, "image": "image.npy", …}'

Prints JSON in its last line. "Above the loaded model" counts from the moment when the system is built and has answered
once for a few points, so that first-time preparations are done. The output also has the memory held at that moment.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from benchmarks.against_stock import systems
from benchmarks.against_stock.subjects import Subject
from benchmarks.against_stock.systems import OURS
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import keep_freed_memory
from tools.mar import ROOT
from tools.problem import Problem

MIB = 2**20
WARM_UP_POINTS = 2


def peak(
    system: str,
    subject: Subject,
    image: NDArray[np.uint8],
    settings: MaskSettings,
    *,
    device: torch.device,
    folder: Path,
) -> dict[str, float]:
    """Runs `main` in a separate process.

    Args:
        system: a name that `systems.build` knows.
        subject: model to measure.
        image: H × W × 3, uint8.
        settings: settings of the generator.
        device: device to run on.
        folder: folder for the image's file.

    Returns:
        `loaded_mib`, memory held before the run; `peak_mib`, the most held above that during it; `seconds` of the run.

    Raises:
        Problem: the process failed.
    """
    np.save(folder / "image.npy", image)
    spec = {
        "system": system,
        "subject": {**asdict(subject), "checkpoint": str(subject.checkpoint)},
        "image": str(folder / "image.npy"),
        "settings": asdict(settings),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", __name__, json.dumps(spec)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"measuring the memory of {system} failed:\n{done.stderr.strip()[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(spec: Mapping[str, Any]) -> dict[str, float]:
    """Returns what `peak` returns, for this process."""
    device = torch.device(spec["device"])
    torch.set_num_threads(spec["threads"])
    if spec["system"] in OURS:
        keep_freed_memory()  # as a worker does
    subject = Subject(**{**spec["subject"], "checkpoint": Path(spec["subject"]["checkpoint"])})
    image, settings = np.load(spec["image"]), MaskSettings(**spec["settings"])
    system = systems.build(spec["system"], subject.load(device))
    system.segment(image, replace(settings, points_per_side=WARM_UP_POINTS))
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        loaded = torch.cuda.memory_allocated(device)
        began = time.perf_counter()
        system.segment(image, settings)
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
        most = torch.cuda.max_memory_allocated(device)
    else:
        _forget_peak()
        loaded = psutil.Process().memory_info().rss
        began = time.perf_counter()
        system.segment(image, settings)
        seconds = time.perf_counter() - began
        most = _peak_bytes()
    return {
        "loaded_mib": round(loaded / MIB, 1),
        "peak_mib": round((most - loaded) / MIB, 1),
        "seconds": round(seconds, 4),
    }


def _forget_peak() -> None:
    """Gives freed memory back and restarts Linux's count of the peak; elsewhere the count covers the whole process."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
