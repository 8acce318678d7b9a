"""Image encoders compiled ahead of time: packages of machine code that a worker loads instead of compiling.

`build` exports the encoder of a model in a precision and compiles it (AOTInductor). `load` opens a package and gives it
the weights of the worker's own checkpoint. A package holds no weights: it has three megabytes and serves every
checkpoint of its model, and the weights stay where they are, mapped from the file or on the GPU. Building needs a C++
compiler. Loading needs none, and does not import the compiler's Python side.

A package names its target: what it was compiled for. AOTInductor would at most warn of a wrong target, and code for
another processor, or tensors of another shape, would end the worker's process. So the whole target is checked here,
before the first instruction of the package runs.

A package is a program: take one only from people whose `.mar` you would serve.
"""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from grain_handler.errors import PackageError
from grain_handler.sam.compile_target import Target, allowed_instructions
from grain_handler.sam.precision import dtype_of, image_encoder

if TYPE_CHECKING:
    from grain_handler.storage.weights import Checkpoint

BATCH = 8
"""Most images that a package encodes at once; more are encoded in parts."""

MODEL_IN_PACKAGE = "model"
"""AOTInductor's name for the one model of a package."""


class CompiledEncoder(nn.Module):
    """An image encoder from a package, called like the encoder that it was compiled from.

    Args:
        runner: AOTInductor's loaded package.
        tensors: tensors of the encoder, by name. The package reads them where they are, so they are kept alive.
        side: side of the images, px.
        dtype: type of the images.
    """

    def __init__(self, runner: Any, tensors: dict[str, Tensor], side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.runner, self.tensors, self.side, self.dtype = runner, tensors, side, dtype
        self.device = next(iter(tensors.values())).device

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Encodes normalised images.

        Args:
            images: B × 3 × side × side, of the precision's type, on the weights' device.

        Returns:
            The embedding, B × C × side/16 × side/16; if the encoder predicts seeds, the seed map as well.

        Raises:
            ValueError: the images have another shape, type or device; the code would read outside their memory.
        """
        expected = (3, self.side, self.side)
        if tuple(images.shape[1:]) != expected or images.dtype != self.dtype or images.device != self.device:
            raise ValueError(
                f"the compiled encoder takes {self.dtype} images of {expected} on {self.device}, "
                f"not {images.dtype} of {tuple(images.shape[1:])} on {images.device}"
            )
        parts = [self.runner.boxed_run([part.contiguous()]) for part in images.split(BATCH)]
        made = parts[0] if len(parts) == 1 else [torch.cat(each) for each in zip(*parts, strict=True)]
        return made[0] if len(made) == 1 else (made[0], made[1])


@torch.inference_mode()
def load(package: Checkpoint, stock: nn.Module, model: str, precision: str) -> CompiledEncoder:
    """Loads a package and gives it a checkpoint's weights.

    Args:
        package: package, fetched and verified like a checkpoint.
        stock: image encoder of the model, on its device; not changed, its parameters are shared in `fp32`.
        model: name in the registry.
        precision: key of `precision.PRECISIONS`.

    Returns:
        The encoder; it takes images of the precision's type.

    Raises:
        PackageError: the file is no package, or was made for another target than this worker.
    """
    encoder = image_encoder(stock, precision)
    tensors = _tensors(encoder)
    side = cast(int, stock.img_size)
    ours = Target.here(encoder, model, precision, side)
    Target.read(package.path, package.uri).check(package.uri, ours)
    try:
        runner = _open(package.path, next(iter(tensors.values())).device)
    except RuntimeError as error:
        raise PackageError(f"{package.uri} cannot be loaded: {error}. {ours.remedy}") from error
    if set(runner.get_constant_fqns()) != tensors.keys():
        raise PackageError(f"{package.uri} wants other tensors than the encoder has. {ours.remedy}")
    # Into the active set; all of them, since a missing one would be a null pointer; and without a copy.
    runner.load_constants(tensors, False, True, True)
    return CompiledEncoder(runner, tensors, side, dtype_of(precision))


@torch.no_grad()
def build(stock: nn.Module, model: str, precision: str, path: Path) -> None:
    """Compiles a model's image encoder for this machine; takes a minute.

    Args:
        stock: image encoder, on the device to compile for. Its weights do not go into the package.
        model: name in the registry.
        precision: key of `precision.PRECISIONS`.
        path: file to write; it appears complete or not at all.

    Raises:
        PackageError: there is no C++ compiler, or a tensor of the encoder would become part of the code.
        ValueError: the precision is unknown, or the encoder has nothing to quantise.
    """
    from torch._inductor import aoti_compile_and_package  # noqa: PLC0415 - seconds that a worker need not spend
    from torch._inductor.utils import fresh_cache  # noqa: PLC0415

    compiler()
    encoder = copy.deepcopy(image_encoder(stock, precision))
    laid_out = _tensors(encoder)
    for name, value in _named(encoder):
        value.data = laid_out[name]
    side = cast(int, stock.img_size)
    target = Target.here(encoder, model, precision, side, allowed_instructions())
    # Two images, because torch.export takes one to mean "always one".
    images = torch.zeros(2, 3, side, side, dtype=dtype_of(precision), device=next(encoder.parameters()).device)
    options = {
        "aot_inductor.package_constants_in_so": False,
        "aot_inductor.metadata": target.metadata(),
        # Otherwise vectors of up to eight numbers become part of the code, and with them the checkpoint at hand.
        "always_keep_tensor_constants": True,
        # Otherwise the code runs on as many threads as this process has now.
        "cpp.dynamic_threads": True,
        # Not -march=native, which would use instructions that no worker can be checked for. Vector instructions are
        # named by options of their own.
        "cpp.march": "",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as scratch, warnings.catch_warnings():
        # torch uses deprecated parts of itself.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        batch = torch.export.Dim("batch", min=1, max=BATCH)
        exported = torch.export.export(encoder, (images,), dynamic_shapes=({0: batch},))
        made = Path(scratch) / path.with_suffix(".pt2").name
        # Processes share the compiler's cache and rewrite its files in place: two that compile one encoder at the same
        # time would package each other's half-written files.
        with fresh_cache(dir=scratch):
            aoti_compile_and_package(exported, package_path=str(made), inductor_configs=options)
        _check_constants(made, encoder)
        target.check(str(path), Target.read(made, str(path)))
        made.replace(path)


def compiler() -> str:
    """Returns the C++ compiler that `build` uses.

    Raises:
        PackageError: there is no C++ compiler.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415 - as in `build`
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        return get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise PackageError(
            "compiling an encoder needs a C++ compiler, and none was found: install g++, or name one in CXX"
        ) from error


def _open(package: Path, device: torch.device) -> Any:
    """Loads a package's code.

    torch._inductor.aoti_load_package is not used: it imports the compiler and compiles a probe of the processor, which
    takes seconds and needs a C++ compiler. The package is unpacked here, so that on a CPU a killed worker leaves no
    files behind.

    Raises:
        RuntimeError: the package cannot be loaded.
    """
    folder = tempfile.mkdtemp(prefix="grainserve-encoder-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    index = device.index if device.type == "cuda" else -1
    runner = torch._C._aoti.AOTIModelPackageLoader(folder, MODEL_IN_PACKAGE, False, 1, index)
    if device.type == "cpu":
        shutil.rmtree(folder)  # The code is in memory. On a GPU, kernels are read when they first run.
    return runner


def _named(encoder: nn.Module) -> list[tuple[str, Tensor]]:
    return [*encoder.named_parameters(), *encoder.named_buffers()]


def _tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """Returns an encoder's tensors by name, laid out as compiled code reads them.

    A checkpoint may have been saved in any layout; the code knows only one, which for convolutions is the faster one,
    channels last. Only tensors that are laid out otherwise are copied.
    """
    convolutions = {f"{name}.weight" for name, part in encoder.named_modules() if isinstance(part, nn.Conv2d)}
    return {
        name: value.detach().contiguous(
            memory_format=torch.channels_last if name in convolutions else torch.contiguous_format
        )
        for name, value in _named(encoder)
    }


def _check_constants(package: Path, encoder: nn.Module) -> None:
    """Checks that a package reads exactly the tensors that `load` will give it.

    Raises:
        PackageError: a tensor of the encoder became part of the code, or the code reads a tensor of its own.
    """
    runner = _open(package, next(encoder.parameters()).device)
    odd = set(runner.get_constant_fqns()) ^ _tensors(encoder).keys()
    if odd:
        raise PackageError(f"the package would hold tensors of its own, or lack some: {', '.join(sorted(odd))}")
