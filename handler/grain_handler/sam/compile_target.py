"""The target that code was compiled for, and the check that this worker matches it."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from grain_handler.errors import PackageError

KEY = "grainserve"
"""Key of a package's metadata that holds the target, as JSON."""


@dataclass(frozen=True)
class Target:
    """What a package was compiled for; a worker must match all of it.

    Attributes:
        model: name in the registry.
        precision: key of `precision.PRECISIONS`.
        side: side of the images, px.
        encoder: fingerprint of the encoder: its source code and the names, shapes and types of its tensors.
        torch: version of torch, whose functions the code calls.
        system: operating system and architecture, such as `linux-x86_64`.
        device: device type, `cpu` or `cuda`.
        processor: instruction set of the CPU, such as `AVX512`, or the GPU's compute capability.
        features: instructions, beyond the architecture's basic ones, that the compiler might use; the worker may have
            more.
    """

    model: str
    precision: str
    side: int
    encoder: str
    torch: str
    system: str
    device: str
    processor: str
    features: tuple[str, ...]

    @classmethod
    def here(
        cls, encoder: nn.Module, model: str, precision: str, side: int, features: Sequence[str] | None = None
    ) -> Target:
        """Returns the target that fits an encoder in this process.

        Args:
            encoder: encoder, in its precision and on its device.
            model: name in the registry.
            precision: key of `precision.PRECISIONS`.
            side: side of the images, px.
            features: instructions that the code may use; None takes all that this CPU has.
        """
        device = next(encoder.parameters()).device
        if device.type == "cuda":
            processor = "compute capability {}.{}".format(*torch.cuda.get_device_capability(device))
        else:
            processor = torch.backends.cpu.get_cpu_capability()
        return cls(
            model=model,
            precision=precision,
            side=side,
            encoder=_fingerprint(encoder),
            torch=str(torch.__version__),
            system=f"{sys.platform}-{platform.machine()}",
            device=device.type,
            processor=processor,
            features=tuple(sorted(set(_instructions() if features is None else features))),
        )

    @classmethod
    def read(cls, package: Path, uri: str) -> Target:
        """Reads a package's target without running any of its code.

        Args:
            package: file of the package.
            uri: URI of the package, for the message.

        Raises:
            PackageError: the file is no package of ours, or another version of grainserve made it.
        """
        try:
            with zipfile.ZipFile(package) as archive:
                texts = [archive.read(name) for name in archive.namelist() if name.endswith("_metadata.json")]
            found = json.loads(json.loads(texts[0])[KEY])
        except (zipfile.BadZipFile, IndexError, KeyError, ValueError) as error:
            raise PackageError(f"{uri} is not an encoder package: make package makes them") from error
        if found.keys() != {field.name for field in fields(cls)}:
            raise PackageError(f"{uri} was made by another version of grainserve: make it again")
        return cls(**{**found, "features": tuple(found["features"])})

    def metadata(self) -> dict[str, str]:
        """Returns the metadata that `read` reads."""
        return {KEY: json.dumps(asdict(self))}

    def check(self, uri: str, worker: Target) -> None:
        """Checks that a package with this target runs on a worker.

        Args:
            uri: URI of the package, for the message.
            worker: target that fits the worker; see `here`.

        Raises:
            PackageError: the targets differ; the message names both values and says what to do.
        """
        for field in fields(self):
            made_for, here = getattr(self, field.name), getattr(worker, field.name)
            if field.name != "features" and made_for != here:
                raise PackageError(
                    f"{uri} was compiled for {field.name} {made_for}, this worker has {here}. {worker.remedy}"
                )
        missing = sorted(set(self.features) - set(worker.features))
        if missing:
            raise PackageError(
                f"{uri} was compiled for a processor with {', '.join(missing)}, which this one lacks. {worker.remedy}"
            )

    @property
    def remedy(self) -> str:
        """What to do about a package that does not fit this worker."""
        return (
            f"Compile it on this machine (make package MODEL={self.model} PRECISION={self.precision} "
            f"DEVICE={self.device}), or leave encoder_package out of the model config to run without one"
        )


def allowed_instructions() -> list[str]:
    """Returns the instructions, beyond the architecture's basic ones, that AOTInductor lets the compiler use here."""
    from torch._inductor.cpu_vec_isa import pick_vec_isa  # noqa: PLC0415 - it compiles a probe; workers need not

    options = re.findall(r"-m([a-z0-9-]+)(?!\S)", pick_vec_isa().build_arch_flags())
    return [option.replace("-", "") for option in options]


def _instructions() -> list[str]:
    """Returns the instructions that this CPU has, by the names of a C++ compiler's options."""
    found = [name.replace("_", "") for name, value in torch.cpu.get_capabilities().items() if value is True]
    return [*found, "fma"] if "fma3" in found else found


def _fingerprint(encoder: nn.Module) -> str:
    """Hashes the source of an encoder's modules and the names, types and shapes of its tensors."""
    digest = hashlib.sha256()
    for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
    # torch's own modules change only with its version, which the target names.
    modules = {type(part).__module__ for part in encoder.modules()}
    for name in sorted(name for name in modules if not name.startswith("torch.")):
        digest.update(inspect.getsource(sys.modules[name]).encode())
    return digest.hexdigest()[:16]
