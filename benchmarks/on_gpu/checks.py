"""Checks on a device of every path of the handler that differs between CUDA and the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from benchmarks.against_stock.systems import Stock
from benchmarks.on_gpu import broken
from benchmarks.on_gpu.models import MODELS, Subject
from benchmarks.on_gpu.pairs import pair
from grain_handler.errors import DeviceError, PackageError
from grain_handler.masks import Mask
from grain_handler.sam import compiled
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.crops import Framing
from grain_handler.sam.precision import PRECISIONS, resolve
from grain_handler.worker import device
from tools.mar import PACKAGE, ROOT

GIB = 2**30
LEAST = {"fp32": (0.97, 0.999), "bf16": (0.8, 0.9), "int8": (0.75, 0.9)}
"""Precision → least share of stock's masks with a partner, and least mean IoU of the pairs."""

ERROR = {"fp32": 1e-4, "bf16": 0.03, "int8": 0.05}
"""Largest error of an embedding: root mean square of its difference from stock's, as a share of stock's."""

CPU_HOLDS = 5
"""Number of prompts at once above which the CPU pretends to have no memory, since its memory cannot be limited."""


class Skipped(Exception):
    """Raised by a check that cannot be done here; says why."""


class Failed(Exception):
    """Raised by a check that failed; its message says what was wrong."""


@dataclass(frozen=True)
class Bench:
    """The device and models that the checks run on.

    Attributes:
        device: device to check.
        subjects: models by name.
    """

    device: torch.device
    subjects: Mapping[str, Subject]


def hold(condition: bool, otherwise: str) -> None:
    """Fails a check with a message unless a condition holds."""
    if not condition:
        raise Failed(otherwise)


def device_choice(bench: Bench) -> str:
    """Checks `device.choose`, and the precision that `auto` means on the device."""
    gpu = bench.device.type == "cuda"
    here = torch.device("cuda", 0) if gpu else torch.device("cpu")
    with mock.patch.dict(os.environ, {device.REQUIRE_GPU: "0"}):
        hold(device.choose(0) == here, f"a worker that was given GPU 0 would run on {device.choose(0)}")
        hold(device.choose(None).type == "cpu", "a worker without a GPU would not run on the CPU")
    with mock.patch.dict(os.environ, {device.REQUIRE_GPU: "1"}):
        for given in (None,) if gpu else (None, 0):
            try:
                device.choose(given)
            except DeviceError:
                continue
            raise Failed(f"a worker that must have a GPU starts on the CPU (given: {given})")
    return f"{here}; precision auto is {resolve('auto', here)}"


def embeddings(bench: Bench) -> str:
    """Compares each encoder in each precision with stock's, and two images at once with one by one."""
    said = []
    for name, subject in bench.subjects.items():
        image = subject.image
        images = [image, image[: image.shape[0] // 3, : image.shape[1] // 2]]
        framing = Framing(subject.sam)
        with torch.inference_mode():
            exact = subject.sam.image_encoder(torch.stack([framing.frame(image) for image in images]))
        for precision in PRECISIONS:
            generator = _generator(subject, precision)
            if generator is None:
                continue
            made = torch.cat([each.tokens for each in generator.embed(images)])
            hold(made.device.type == bench.device.type, f"{name}, {precision}: the embedding is on {made.device}")
            alone = torch.cat([generator.embed([image])[0].tokens for image in images])
            for kind, found in (("", made), (", one by one", alone)):
                error = float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())
                hold(error <= ERROR[precision], f"{name}, {precision}{kind}: off by {error:.1e}")
            said.append(f"{name} {precision} {error:.0e}")
    return "off by " + ", ".join(said)


def masks(bench: Bench) -> str:
    """Compares each model in each precision with stock's generator."""
    said = []
    for name, subject in bench.subjects.items():
        stock = Stock(subject.sam)
        theirs = stock.masks(stock.segment(subject.image, subject.settings))
        for precision in PRECISIONS:
            generator = _generator(subject, precision)
            if generator is not None:
                ours = generator.generate(subject.image, subject.settings)
                said.append(f"{name} {_alike(theirs, ours, precision, f'{name}, {precision}')}")
    return "; ".join(said)


def crops(bench: Bench) -> str:
    """Compares device and CPU on a layer of crops, an image that is not square, and adaptive points."""
    said = []
    for name, subject in bench.subjects.items():
        image, settings = subject.image[: subject.image.shape[0] * 2 // 3], subject.settings
        cut = replace(settings, points_per_side=4, crop_n_layers=1, crop_n_points_downscale_factor=2, points="adaptive")
        on_device = MaskGenerator(subject.sam).generate(image, cut)
        on_cpu = MaskGenerator(_on_cpu(subject)).generate(image, cut)
        hold(bool(on_cpu), f"{name}: no masks to compare")
        said.append(f"{name} {_alike(on_cpu, on_device, 'fp32', name)}")
    return "; ".join(said)


def nothing_found(bench: Bench) -> str:
    """Checks thresholds that no mask passes, with and without crops."""
    subject = next(iter(bench.subjects.values()))
    for precision in ("fp32", "bf16"):
        generator = MaskGenerator(subject.sam, precision)
        few = replace(subject.settings, points_per_side=2)
        for settings in (replace(few, pred_iou_thresh=9), replace(few, stability_score_thresh=9, crop_n_layers=1)):
            hold(generator.generate(subject.image, settings) == [], f"masks passed {settings}")
    return "no masks, no fault"


def out_of_memory(bench: Bench) -> str:
    """Checks that a chunk of all points, which does not fit into memory, is halved, and that the masks are the same."""
    subject = next(iter(bench.subjects.values()))
    generator = MaskGenerator(subject.sam)
    (embedding,) = generator.embed([subject.image])
    expected = generator.generate(subject.image, subject.settings, embedding)
    generator.budget.bytes = before = 2**40
    # The first crop already has its embedding, so only the decoder takes much memory.
    settings = replace(subject.settings, points_per_batch=subject.settings.points_per_side**2)
    with _short_of_memory(generator, bench.device):
        found = generator.generate(subject.image, settings, embedding)
    hold(generator.budget.bytes < before, "there was memory for all points at once: nothing was tried")
    said = _alike(expected, found, "fp32", subject.name)
    prompts = generator.budget.chunk(generator.decoder.bytes_per_prompt)
    return f"{settings.points_per_batch} prompts at once, halved to {prompts}; {said}"


def broken_device(bench: Bench) -> str:
    """Checks that a worker ends with exit code 1 and says why if its device fails, also if a library hits the fault."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
    for fault in ("itself", "library"):
        command = [sys.executable, "-m", broken.__name__, bench.device.type, fault]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"met by the {fault}: the worker had not ended after {error.timeout:.0f} s") from error
        said = (done.stdout + done.stderr).strip()[-1500:]
        hold(
            done.returncode == 1 and "the device failed; ending this worker" in done.stderr,
            f"met by the {fault}: exit code {done.returncode}: {said}",
        )
    return "ended with exit code 1" + ("" if bench.device.type == "cuda" else " (the fault was raised by hand)")


def compiled_encoder(bench: Bench) -> str:
    """Checks that an encoder compiled ahead of time gives the plain encoder's embeddings."""
    name, subject = next(iter(bench.subjects.items()))
    stock = subject.sam.image_encoder
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        package = SimpleNamespace(path=Path(folder) / f"{name}.pt2", uri=f"{name}.pt2")
        began = time.perf_counter()
        try:
            compiled.compiler()
        except PackageError as reason:
            raise Skipped(str(reason)) from reason
        compiled.build(stock, name, "fp32", package.path)
        seconds = time.perf_counter() - began
        encoder = compiled.load(package, stock, name, "fp32")  # type: ignore[arg-type]  # as much of a Checkpoint
        plain, loaded = (
            MaskGenerator(subject.sam, encoder=made).embed([subject.image])[0].tokens for made in (None, encoder)
        )
    error = float((plain - loaded).square().mean().sqrt() / plain.square().mean().sqrt())
    hold(error <= ERROR["fp32"], f"off by {error:.1e}")
    return f"compiled in {seconds:.0f} s, off by {error:.0e}"


CHECKS: dict[str, Callable[[Bench], str]] = {
    "device choice": device_choice,
    "embeddings": embeddings,
    "masks": masks,
    "crops": crops,
    "nothing found": nothing_found,
    "out of memory": out_of_memory,
    "broken device": broken_device,
    "compiled encoder": compiled_encoder,
}


def run(bench: Bench, without: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Runs the checks; all run even if some fail.

    Args:
        bench: device and models.
        without: names of checks that are left out.
        say: prints a line.

    Returns:
        For each check its name, its outcome (`passed`, `failed` or `left out`), its message and its seconds.
    """
    # Compare stock's convolutions with ours, without cuDNN's way of rounding them.
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    results = []
    for name, check in CHECKS.items():
        began = time.perf_counter()
        try:
            if name in without:
                raise Skipped("as asked")
            outcome, said = "passed", check(bench)
        except Skipped as reason:
            outcome, said = "left out", str(reason)
        except Failed as reason:
            outcome, said = "failed", str(reason)
        except Exception:  # noqa: BLE001 - whatever a path that has never run raises is what is to be found out
            outcome, said = "failed", traceback.format_exc()
        seconds = round(time.perf_counter() - began, 1)
        results.append({"check": name, "outcome": outcome, "said": said, "seconds": seconds})
        say(f"{outcome:>8}  {name}, {seconds} s: {said}")
    torch.backends.cudnn.allow_tf32 = before
    return results


def _generator(subject: Subject, precision: str) -> MaskGenerator | None:
    """Returns our generator; None if the encoder has nothing to quantise, which the check reports."""
    linear = any(isinstance(part, torch.nn.Linear) for part in subject.sam.image_encoder.modules())
    try:
        generator = MaskGenerator(subject.sam, precision)
    except ValueError:
        hold(precision == "int8" and not linear, f"{subject.name} refuses {precision}")
        return None
    hold(precision != "int8" or linear, f"{subject.name} has nothing to quantise, and does not say so")
    return generator


def _alike(expected: Sequence[Mask], found: Sequence[Mask], precision: str, what: str) -> str:
    """Compares two lists of masks; says how far they agree."""
    pairs = pair(expected, found)
    said = f"{precision} {pairs.matched} of {len(expected)} masks and {len(found)}, mean IoU {pairs.mean_iou:.4f}"
    least_matched, least_iou = LEAST[precision]
    enough = pairs.matched >= least_matched * max(len(expected), len(found)) - 1
    hold(enough and pairs.mean_iou >= least_iou, f"{what}: {said}")
    return said


def _on_cpu(subject: Subject) -> Any:
    """Returns the same model on the CPU."""
    if subject.sam.device.type == "cpu":
        return subject.sam
    sam = MODELS[subject.name]()
    sam.load_state_dict(subject.sam.state_dict())
    return sam.eval()


@contextmanager
def _short_of_memory(generator: MaskGenerator, where: torch.device) -> Iterator[None]:
    """Limits the device to a gibibyte above its present use; a CPU only pretends to have run out of memory."""
    if where.type == "cuda":
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info(where)
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(where) + GIB) / total, where)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, where)
        return
    decode = generator.decoder.decode

    def decode_few(image: Any, points: torch.Tensor) -> Any:
        if len(points) > CPU_HOLDS:
            raise torch.OutOfMemoryError("said by hand, as there is no GPU")
        return decode(image, points)

    with mock.patch.object(generator.decoder, "decode", decode_few):
        yield
