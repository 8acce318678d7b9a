"""Measures image encoders compiled ahead of time: what a package costs, and what it saves.

    python -m benchmarks.compiled                      sam_vit_b and sam_tiny on this machine's CPU: four minutes
    python -m benchmarks.compiled --models sam_tiny    one minute
    python -m benchmarks.compiled --device cuda        on a GPU

For each model in fp32 and bf16 it measures the seconds to compile with an empty cache, the size of the package, the
seconds to load it (in a process that has no compiler), the seconds per image in turns with the plain encoder, and the
distance of the embeddings from each other, and in bf16 from fp32. It also gives processor seconds of all threads, which
hardly change when the machine does other work. `torch.compile` on the first request, which the package replaces, is
timed once, in bf16 with an empty cache.

sam_tiny has its committed checkpoint. The others have random weights, which take the same time as real ones. The
machine should do nothing else meanwhile. Writes benchmarks/results/compiled.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from grain_handler.errors import PackageError
from grain_handler.sam import compiled, models
from grain_handler.sam.memory import keep_freed_memory
from grain_handler.sam.precision import dtype_of, image_encoder
from grain_handler.storage.weights import Checkpoint
from tools.compile_encoder import difference, random_encoder
from tools.launch import CALM
from tools.mar import ROOT
from tools.problem import MIB, Problem, main_exit
from tools.stack import weights_file
from training.synthetic import synthesize

RESULTS = ROOT / "benchmarks" / "results" / "compiled.json"
PRECISIONS = ("fp32", "bf16")
REPEATS = 5
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""SAM's own mean and deviation, in grey levels."""


def stock_encoder(model: str, device: torch.device) -> nn.Module:
    """Builds the model's image encoder, with a checkpoint if one is committed."""
    if model != "sam_tiny":
        return random_encoder(model, device)
    file = weights_file(model)
    encoder: nn.Module = models.load(model, Checkpoint(file, str(file), None, ""), device).image_encoder
    return encoder


def one_image(side: int, device: torch.device) -> Tensor:
    """Returns a synthetic thin section as encoder input: 1 × 3 × side × side, single precision."""
    pixels = synthesize(np.random.default_rng(2026), "matrix", side, side, grain_px=40).image
    frame = (torch.as_tensor(pixels).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    return frame.permute(2, 0, 1)[None].contiguous().to(device)


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds until the device has done a step."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def build(model: str, precision: str, device: torch.device, path: Path) -> dict[str, Any]:
    """Compiles a package; runs in a separate process with an empty cache."""
    stock = random_encoder(model, device)
    return {"compile_s": timed(lambda: compiled.build(stock, model, precision, path), device)}


@torch.inference_mode()
def run(model: str, precision: str, device: torch.device, path: Path) -> dict[str, Any]:
    """Loads a package and runs it in turns with the plain encoder; runs in a process without a compiler."""
    keep_freed_memory()
    stock = stock_encoder(model, device)
    image = one_image(1024, device)
    images = image.to(dtype_of(precision))
    as_it_is = image_encoder(stock, precision)
    package = Checkpoint(path, str(path), None, "")
    resident = psutil.Process().memory_info().rss
    began = time.perf_counter()
    ready = compiled.load(package, stock, model, precision)
    loaded = time.perf_counter() - began
    grown = psutil.Process().memory_info().rss - resident
    first = timed(lambda: ready(images), device)
    apart = {"apart": difference(as_it_is, ready, images)}
    if precision != "fp32":
        exact = image_encoder(stock, "fp32")(image)
        apart["as_it_is_from_fp32"] = difference(lambda _: exact, as_it_is, images)
        apart["compiled_from_fp32"] = difference(lambda _: exact, ready, images)
    seconds: dict[str, list[float]] = {"as_it_is": [], "compiled": [], "as_it_is_cpu": [], "compiled_cpu": []}
    for _ in range(REPEATS):
        for name, encoder in (("as_it_is", as_it_is), ("compiled", ready)):
            busy = time.process_time()
            seconds[name].append(timed(partial(encoder, images), device))
            seconds[f"{name}_cpu"].append(time.process_time() - busy)
    medians = {f"{name}_s": statistics.median(values) for name, values in seconds.items()}
    return {"load_s": loaded, "load_mib": grown / MIB, "first_s": first} | medians | apart | {"seconds": seconds}


@torch.inference_mode()
def just_in_time(model: str, precision: str, device: torch.device, _path: Path) -> dict[str, Any]:
    """Times the first image through torch.compile; runs in a separate process with an empty cache."""
    warnings.simplefilter("ignore")
    stock = stock_encoder(model, device)
    images = one_image(1024, device).to(dtype_of(precision))
    encoder = torch.compile(image_encoder(stock, precision))
    return {"just_in_time_first_s": timed(lambda: encoder(images), device)}


STEPS = {"build": build, "run": run, "just_in_time": just_in_time}


def in_a_process(step: str, model: str, precision: str, device: str, path: Path) -> dict[str, Any]:
    """Runs a step in a fresh process like a worker's: with an empty compiler cache, and for `run` without a compiler.

    Raises:
        Problem: the step failed.
    """
    with tempfile.TemporaryDirectory(prefix="compiled-") as cache:
        environment = {**CALM, **os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        if step == "run":
            environment["PATH"] = str(Path(cache) / "nothing")
        command = [sys.executable, "-m", "benchmarks.compiled", "--device", device, "--models", model]
        command += ["--step", step, "--precision", precision, "--package", str(path)]
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise Problem(f"{step} of {model} in {precision} failed: {answer.stderr.strip()}")
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """Describes the machine."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Prints the results."""
    table = Table()
    columns = ("model", "precision", "compile_s", "package_mib", "load_s", "as_it_is_s", "compiled_s", "apart")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in columns))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="sam_vit_b,sam_tiny", help="names in the registry (default: both)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    for hidden in ("--step", "--precision", "--package"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device, 0) if arguments.device == "cuda" else torch.device("cpu")
    if arguments.step:
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        found = STEPS[arguments.step](arguments.models, arguments.precision, device, Path(arguments.package))
        print(json.dumps(found))
        return 0
    try:
        compiled.compiler()
    except PackageError as error:
        raise Problem(f"{error}.") from error
    began, busy, rows = time.perf_counter(), [os.getloadavg()[0]], []
    with tempfile.TemporaryDirectory(prefix="packages-") as folder:
        for model in arguments.models.split(","):
            for precision in PRECISIONS:
                path = Path(folder) / f"{model}-{precision}.pt2"
                steps = ("build", "run", "just_in_time") if precision == "bf16" else ("build", "run")
                row: dict[str, Any] = {"model": model, "precision": precision}
                for step in steps:
                    print(
                        f"{time.perf_counter() - began:4.0f} s  {model} {precision}: {step.replace('_', ' ')}",
                        flush=True,
                    )
                    row |= in_a_process(step, model, precision, arguments.device, path)
                rows.append(row | {"package_mib": path.stat().st_size / MIB})
                busy.append(os.getloadavg()[0])
    show(rows)
    results = {"machine": machine(device) | {"load_average": busy}, "took_s": time.perf_counter() - began, "rows": rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {arguments.out} after {results['took_s']:.0f} s.")
    return 0


if __name__ == "__main__":
    main_exit(main)
