"""A small vision transformer, compiled once for all of these tests, and loaded where there is no compiler."""

from __future__ import annotations

import copy
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT

from grain_handler.errors import PackageError
from grain_handler.sam import compiled, fused_encoder
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.compile_target import Target
from grain_handler.sam.precision import image_encoder
from grain_handler.sam.seed_head import SeedHead
from grain_handler.storage.weights import Checkpoint
from tests.unit.handler.sams import random_sam, random_vit

ROOT = Path(__file__).parents[4]
SIDE = 128
MODEL = "small_vit"


def vit(seed: int, side: int = SIDE, depth: int = 2) -> ImageEncoderViT:
    return random_vit(seed, side, depth=depth)


def checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(path, f"gs://weights/{path.name}", "1", "")


@pytest.fixture(scope="module")
def package(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package in single precision, compiled with other weights than any test has."""
    path = tmp_path_factory.mktemp("packages") / "small_vit.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(path.parent / "shared"))
        compiled.build(vit(0), MODEL, "fp32", path)
    return path


def test_building_uses_no_cache_that_other_processes_write(package: Path) -> None:
    """The compiler rewrites the cache's files in place; a package once got another process's half-written file."""
    shared = package.parent / "shared"
    # Only the probe of the processor is there, which the compiler locks.
    assert list(shared.rglob("*_metadata.json")) == []


def test_a_worker_without_a_compiler_runs_any_checkpoint(package: Path, tmp_path: Path) -> None:
    """The other process has no program on its path, and the package's file has its name in the cache."""
    cached = tmp_path / "1763712000000001"
    cached.symlink_to(package)
    run = [sys.executable, "-c", "from tests.unit.handler.sam import test_compiled as t; t.in_a_worker()", str(cached)]
    environment = {**os.environ, "PATH": str(tmp_path / "nothing"), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""


def in_a_worker() -> None:
    """Does the work of the test above's process."""
    for seed, count in ((1, 1), (2, 3), (1, compiled.BATCH + 1)):
        stock = vit(seed)
        loaded = compiled.load(checkpoint(Path(sys.argv[1])), stock, MODEL, "fp32")
        images = torch.randn(count, 3, SIDE, SIDE)
        with torch.inference_mode():
            expected = image_encoder(stock, "fp32")(images)
            torch.testing.assert_close(loaded(images), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert "torch._inductor.codecache" not in sys.modules  # the compiler, which takes seconds to import


def test_it_leaves_no_files_behind(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compiled.load(checkpoint(package), vit(1), MODEL, "fp32")
    assert list(tmp_path.iterdir()) == []


def test_it_holds_no_weights_but_reads_those_of_the_model(package: Path) -> None:
    assert package.stat().st_size < 4 * 2**20
    stock = vit(3)
    loaded = compiled.load(checkpoint(package), stock, MODEL, "fp32")
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        before = loaded(images)
        stock.neck[3].weight.mul_(2)
        stock.neck[3].bias.mul_(2)
        torch.testing.assert_close(loaded(images), 2 * before)


def test_a_checkpoint_of_any_memory_layout(package: Path) -> None:
    """The compiled code expects one layout; sam_tiny's checkpoint, for example, has channels-last convolutions."""
    stock = vit(4)
    other = copy.deepcopy(stock).to(memory_format=torch.channels_last)
    for linear in (part for part in other.modules() if isinstance(part, torch.nn.Linear)):
        linear.weight = torch.nn.Parameter(linear.weight.t().contiguous().t())
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        one, two = (compiled.load(checkpoint(package), given, MODEL, "fp32")(images) for given in (stock, other))
    torch.testing.assert_close(one, two)


def test_other_images_are_refused(package: Path) -> None:
    """The compiled code itself would read outside of them."""
    loaded = compiled.load(checkpoint(package), vit(1), MODEL, "fp32")
    for images in (torch.zeros(1, 3, SIDE, 64), torch.zeros(3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE).bfloat16()):
        with pytest.raises(ValueError, match="the compiled encoder takes"):
            loaded(images)


def test_seeds_are_read_off_what_it_makes(package: Path) -> None:
    sam = random_sam(1, SIDE, vit=vit(1))
    loaded = compiled.load(checkpoint(package), sam.image_encoder, MODEL, "fp32")
    torch.manual_seed(0)
    head = SeedHead(32).eval()
    images = [np.full((40, 60, 3), level, np.uint8) for level in (30, 200)]
    ours = MaskGenerator(sam, encoder=loaded, seed_head=head).embed(images)
    for mine, its in zip(ours, MaskGenerator(sam, seed_head=head).embed(images), strict=True):
        torch.testing.assert_close(mine.seed_map, its.seed_map, rtol=0, atol=1e-3 * float(its.seed_map.abs().max()))


def test_an_encoder_that_predicts_seeds_gives_them_for_every_image() -> None:
    """There are more images than a package takes at once; the compiled code is replaced."""

    class Runner:
        def boxed_run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
            (images,) = inputs
            return [images[:, :1, ::16, ::16], images[:, 1:, ::8, ::8]]

    loaded = compiled.CompiledEncoder(Runner(), {"weight": torch.zeros(1)}, SIDE, torch.float32)
    images = torch.randn(compiled.BATCH + 3, 3, SIDE, SIDE)
    tokens, maps = loaded(images)
    assert torch.equal(tokens, images[:, :1, ::16, ::16])
    assert torch.equal(maps, images[:, 1:, ::8, ::8])


@dataclass(frozen=True)
class Worker:
    """A worker that the package does not fit, and the message about it."""

    words: str
    model: str = MODEL
    precision: str = "fp32"
    stock: Callable[[], ImageEncoderViT] = lambda: vit(1)
    change: tuple[Any, str, Any] | None = None
    """The difference of its machine: an object's attribute, and its value."""


@pytest.mark.parametrize(
    "worker",
    [
        Worker("for model small_vit, this worker has sam_vit_b", model="sam_vit_b"),
        Worker("for precision fp32, this worker has bf16", precision="bf16"),
        Worker("for side 128, this worker has 64", stock=lambda: vit(1, side=64)),
        Worker(r"for encoder \w+, this worker has \w+", stock=lambda: vit(1, depth=1)),
        Worker("for torch .+, this worker has 2.12.1", change=(torch, "__version__", "2.12.1")),
        Worker("for system .+, this worker has .+-m68k", change=(platform, "machine", lambda: "m68k")),
        Worker(
            "for processor .+, this worker has AVX1",
            change=(torch.backends.cpu, "get_cpu_capability", lambda: "AVX1"),
        ),
    ],
    ids=lambda worker: worker.words.split()[1],
)
def test_a_package_for_anything_else_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    if worker.change:
        monkeypatch.setattr(*worker.change)
    remedy = (
        rf"Compile it on this machine \(make package MODEL={worker.model} PRECISION={worker.precision} DEVICE=cpu\)"
    )
    with pytest.raises(PackageError, match=rf"^gs://weights/small_vit.pt2 was compiled {worker.words}. {remedy}"):
        compiled.load(checkpoint(package), worker.stock(), worker.model, worker.precision)


def test_a_package_for_a_richer_processor_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = dict(torch.cpu.get_capabilities())
    used = Target.read(package, "").features
    if not used:
        pytest.skip(f"on {platform.machine()} no instructions are named")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": here["architecture"], "sse2": True})
    with pytest.raises(PackageError, match=f"for a processor with {used[0]}, .*which this one lacks"):
        compiled.load(checkpoint(package), vit(1), MODEL, "fp32")


def test_code_that_changed_since_is_another_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = image_encoder(vit(1), "fp32")
    before = Target.here(fused, MODEL, "fp32", SIDE)
    source = Path(fused_encoder.__file__).read_text(encoding="utf-8")
    monkeypatch.setattr(inspect, "getsource", lambda _module: source.replace("scale=1.0", "scale=1.1"))
    assert Target.here(fused, MODEL, "fp32", SIDE) != before


def test_other_weights_are_the_same_encoder() -> None:
    one, other = (Target.here(image_encoder(vit(seed), "fp32"), MODEL, "fp32", SIDE) for seed in (1, 2))
    assert one == other


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02 weights", "is not an encoder package: make package makes them"),
        ({}, "is not an encoder package"),
        ({"data/model_metadata.json": {"AOTI_DEVICE_KEY": "cpu"}}, "is not an encoder package"),
        ({"data/model_metadata.json": {"grainserve": "{}"}}, "was made by another version of grainserve"),
    ],
    ids=["no archive", "empty archive", "another's package", "an older package"],
)
def test_what_is_no_package_is_refused(content: bytes | dict[str, dict[str, str]], words: str, tmp_path: Path) -> None:
    path = tmp_path / "some.pt2"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, metadata in content.items():
                archive.writestr(name, json.dumps(metadata))
    with pytest.raises(PackageError, match=f"^gs://weights/some.pt2 {words}"):
        compiled.load(checkpoint(path), vit(1), MODEL, "fp32")


def test_without_a_compiler_building_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import cpp_builder  # noqa: PLC0415 - the compiler is imported by those who compile

    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="needs a C\\+\\+ compiler, and none was found: install g\\+\\+"):
        compiled.build(vit(1), MODEL, "fp32", tmp_path / "never.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_is_not_the_checkpoints_is_refused(package: Path) -> None:
    """It would be compiled in, and so be the same for every checkpoint."""
    with pytest.raises(PackageError, match="tensors of its own, or lack some: blocks"):
        compiled._check_constants(package, image_encoder(vit(1, depth=3), "fp32"))
