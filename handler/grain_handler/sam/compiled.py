"""Image encoders compiled ahead of time: packages of machine code that a worker loads instead of compiling.

`build` exports the encoder of a model in a precision and compiles it (AOTInductor); `load` opens such a package and
gives it the weights of the worker's own checkpoint. A package holds no weights: it is three megabytes, one serves
every checkpoint of its model, and the weights stay where they are, mapped from the file or on the GPU. Building
needs a C++ compiler, loading does not, nor does it import the compiler's Python side.

What a package was made for is written into it. AOTInductor would at most warn: code for another processor, or
tensors of another shape, would end the worker's process. So all of it is checked here, before the first instruction
of the package runs.

A package is a program: take it from nobody whose `.mar` you would not serve.
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
"""Images that a package takes at once, at most; more are encoded in parts."""

MODEL_IN_PACKAGE = "model"
"""AOTInductor's name for the one model of a package."""


class CompiledEncoder(nn.Module):
    """An image encoder out of a package, called like the encoder that it was compiled from.

    Args:
        runner: AOTInductor's loaded package.
        tensors: The encoder's tensors by name: the package reads them where they are, so they are kept.
        side: Of the images, px.
        dtype: Of the images.
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
            The embedding, B × C × side/16 × side/16; from an encoder that predicts seeds the seed map as well.

        Raises:
            ValueError: If the images are anything else; the code would read beside them.
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
        package: The package, fetched and verified like a checkpoint.
        stock: The model's image encoder, on its device; not changed, its parameters are shared in `fp32`.
        model: Name in the registry.
        precision: A key of `precision.PRECISIONS`.

    Returns:
        The encoder; takes images of the precision's type.

    Raises:
        PackageError: If the file is no package, or was made for anything else than this worker.
    """
    encoder = image_encoder(stock, precision)
    tensors = _tensors(encoder)
    side = cast(int, stock.img_size)
    ours = Target.here(encoder, model, precision, side)
    Target.read(package).check(package.uri, ours)
    try:
        runner = _open(package.path, next(iter(tensors.values())).device)
    except RuntimeError as error:
        raise PackageError(f"{package.uri} cannot be loaded: {error}. {ours.remedy}") from error
    if set(runner.get_constant_fqns()) != tensors.keys():
        raise PackageError(f"{package.uri} wants other tensors than the encoder has. {ours.remedy}")
    # Into the active set, all of them (what is not given is a null pointer), and where they are, without a copy.
    runner.load_constants(tensors, False, True, True)
    return CompiledEncoder(runner, tensors, side, dtype_of(precision))


@torch.no_grad()
def build(stock: nn.Module, model: str, precision: str, path: Path) -> None:
    """Compiles a model's image encoder for this machine; takes a minute.

    Args:
        stock: The image encoder, on the device to compile for. Its weights do not go into the package.
        model: Name in the registry.
        precision: A key of `precision.PRECISIONS`.
        path: File to write; appears complete or not at all.

    Raises:
        PackageError: If there is no C++ compiler, or a tensor of the encoder would become part of the code.
        ValueError: If the precision is unknown or the encoder has nothing to quantise.
    """
    from torch._inductor import aoti_compile_and_package  # noqa: PLC0415 - seconds that a worker need not spend

    compiler()
    encoder = copy.deepcopy(image_encoder(stock, precision))
    laid_out = _tensors(encoder)
    for name, value in _named(encoder):
        value.data = laid_out[name]
    side = cast(int, stock.img_size)
    target = Target.here(encoder, model, precision, side, allowed_instructions())
    # Two, because torch.export takes one image to mean "always one".
    images = torch.zeros(2, 3, side, side, dtype=dtype_of(precision), device=next(encoder.parameters()).device)
    options = {
        "aot_inductor.package_constants_in_so": False,
        "aot_inductor.metadata": target.metadata(),
        # Otherwise vectors of up to eight numbers become part of the code, and with them the checkpoint at hand.
        "always_keep_tensor_constants": True,
        # Otherwise the code runs on as many threads as this process has now.
        "cpp.dynamic_threads": True,
        # Not -march=native, which would use what cannot be asked for; the vector instructions are named besides.
        "cpp.march": "",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as scratch, warnings.catch_warnings():
        # Deprecations inside torch, by torch.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        batch = torch.export.Dim("batch", min=1, max=BATCH)
        exported = torch.export.export(encoder, (images,), dynamic_shapes=({0: batch},))
        made = Path(scratch) / path.with_suffix(".pt2").name
        aoti_compile_and_package(exported, package_path=str(made), inductor_configs=options)
        _check_constants(made, encoder)
        made.replace(path)


def compiler() -> str:
    """The C++ compiler that `build` uses.

    Raises:
        PackageError: If there is none.
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

    Not with torch._inductor.aoti_load_package, which imports the compiler and compiles a probe of the processor: that
    takes seconds, and a compiler. Unpacked here, so that a worker that is killed leaves no files behind on the CPU.

    Raises:
        RuntimeError: If it cannot be loaded.
    """
    folder = tempfile.mkdtemp(prefix="grainserve-encoder-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    index = device.index if device.type == "cuda" else -1
    runner = torch._C._aoti.AOTIModelPackageLoader(folder, MODEL_IN_PACKAGE, False, 1, index)
    if device.type == "cpu":
        shutil.rmtree(folder)  # It is in memory; on a GPU, kernels are read when they first run.
    return runner


def _named(encoder: nn.Module) -> list[tuple[str, Tensor]]:
    return [*encoder.named_parameters(), *encoder.named_buffers()]


def _tensors(encoder: nn.Module) -> dict[str, Tensor]:
    """An encoder's tensors by name, laid out as compiled code reads them.

    A checkpoint may have been saved in any layout; the code knows one. Of convolutions it is the faster one, channels
    last; only what is laid out otherwise is copied.
    """
    convolutions = {f"{name}.weight" for name, part in encoder.named_modules() if isinstance(part, nn.Conv2d)}
    return {
        name: value.detach().contiguous(
            memory_format=torch.channels_last if name in convolutions else torch.contiguous_format
        )
        for name, value in _named(encoder)
    }


def _check_constants(package: Path, encoder: nn.Module) -> None:
    """Holds a package to what `load` will give it.

    Raises:
        PackageError: If a tensor of the encoder became part of the code, or one in the code is not of the encoder.
    """
    runner = _open(package, next(encoder.parameters()).device)
    odd = set(runner.get_constant_fqns()) ^ _tensors(encoder).keys()
    if odd:
        raise PackageError(f"the package would hold tensors of its own, or lack some: {', '.join(sorted(odd))}")
