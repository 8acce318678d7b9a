"""Compiles a model's image encoder ahead of time: python -m tools.compile_encoder sam_vit_b --precision bf16.

Writes a package that a worker loads instead of compiling (`encoder_package` in the model config). The package holds
machine code for this machine's kind of processor and no weights, so it fits every checkpoint of the model. Needs a C++
compiler and, to compile for a GPU, that GPU.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from grain_handler.errors import PackageError
from grain_handler.sam import compiled
from grain_handler.sam.models import REGISTRY
from grain_handler.sam.precision import PRECISIONS, dtype_of, image_encoder, resolve
from grain_handler.storage.weights import Checkpoint
from tools.mar import MODEL_STORE
from tools.problem import Problem, main_exit

TOLERANCE = {"fp32": 1e-4, "bf16": 0.1, "int8": 0.1}
"""Largest difference allowed between the compiled and the plain embedding, as a share of the plain one's largest value.
Only rounding may differ: usual are a thousandth of these figures in fp32 and a fifth in bf16."""


@torch.no_grad()
def random_encoder(model: str, device: torch.device, seed: int = 0) -> nn.Module:
    """Builds the image encoder of a model with random weights.

    Args:
        model: model name in the registry.
        device: device of the weights.
        seed: seed of the weights.

    Returns:
        The encoder in evaluation mode, every parameter random.
    """
    with torch.device("meta"):  # the model's own initialisation takes longer and leaves the positions at zero
        encoder: nn.Module = REGISTRY[model]().image_encoder
    encoder.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in encoder.named_parameters():
        around = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.normal_(around, 0.02, generator=generator)
    return encoder.eval()


@torch.inference_mode()
def difference(one: Callable[[Tensor], Any], other: Callable[[Tensor], Any], images: Tensor) -> float:
    """Returns the largest difference between two encoders' embeddings, as a share of the first one's largest value.

    Args:
        one: encoder.
        other: encoder to compare with it.
        images: B × 3 × S × S, normalised.
    """
    expected, found = (
        tokens[0].float() if isinstance(tokens, tuple) else tokens.float() for tokens in (one(images), other(images))
    )
    return float((expected - found).abs().max() / expected.abs().max())


def compile_encoder(model: str, precision: str, device: torch.device, out: Path) -> float:
    """Compiles the encoder and compares it with the plain one, with weights that it was not compiled with.

    Args:
        model: model name in the registry.
        precision: key of `precision.PRECISIONS`.
        device: device to compile for; must be present.
        out: file to write; appears complete and checked, or not at all.

    Returns:
        The `difference` between the two encoders.

    Raises:
        Problem: there is no compiler, the model has no such precision, or the two encoders differ too much.
    """
    unchecked = out.with_name(f".{out.name}")
    try:
        compiled.build(random_encoder(model, device), model, precision, unchecked)
        stock = random_encoder(model, device, seed=1)
        encoder = compiled.load(Checkpoint(unchecked, str(out), None, ""), stock, model, precision)
        images = torch.randn(1, 3, encoder.side, encoder.side, device=device).to(dtype_of(precision))
        with torch.inference_mode():
            apart = difference(image_encoder(stock, precision), encoder, images)
        if not apart < TOLERANCE[precision]:
            raise Problem(
                f"The compiled encoder of {model} ({precision}) lies {apart:.1g} of the largest value from the one "
                "it was compiled from: torch compiles it wrongly, so it is not kept. Serve without a package."
            )
        unchecked.replace(out)
    except (PackageError, ValueError) as error:
        raise Problem(f"Cannot compile the encoder of {model}: {error}.") from error
    finally:
        unchecked.unlink(missing_ok=True)
    return apart


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m tools.compile_encoder", description=__doc__.partition("\n")[0])
    parser.add_argument("model", choices=REGISTRY, help="name in the registry")
    parser.add_argument("--precision", choices=["auto", *PRECISIONS], default="auto", help="as in the model config")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, help="file to write (default model_store/<model>-<precision>-<device>.pt2)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Problem("There is no GPU here, or torch cannot use it: compile on a machine like the one that serves.")
    precision = resolve(arguments.precision, device)
    out = arguments.out or MODEL_STORE / f"{arguments.model}-{precision}-{device.type}.pt2"
    # Silences a warning about CUDA_HOME, which a CPU does not need.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    print(f"Compiling the image encoder of {arguments.model} ({precision}, {device.type}); takes a minute or two.")
    began = time.perf_counter()
    apart = compile_encoder(arguments.model, precision, device, out)
    print(
        f"{out}: {out.stat().st_size / 2**20:.1f} MiB in {time.perf_counter() - began:.0f} s; on random weights within "
        f"{apart:.1g} of the encoder it was compiled from. Name it as encoder_package in config/{arguments.model}.yaml."
    )
    return 0


if __name__ == "__main__":
    main_exit(main)
