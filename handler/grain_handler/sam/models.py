"""The registry, model name → SAM module, and the loading of a checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from grain_handler.errors import CheckpointError
from grain_handler.sam.tiny_encoder import SEED_HEAD, TinyImageEncoder
from grain_handler.storage.zips import check_stored

if TYPE_CHECKING:
    from grain_handler.storage.weights import Checkpoint


def build_sam_tiny(widths: tuple[int, int, int, int, int] = (24, 48, 96, 128, 160)) -> Sam:
    """Builds a SAM of four million parameters: SAM's own prompt encoder and mask decoder, 128 channels wide.

    Its random Fourier matrix is twice as steep as SAM's, because a sharper position helps with small grains.

    Args:
        widths: channels of the image encoder at strides 2, 4, 8, 16 and 32.

    Returns:
        An untrained model in evaluation mode.
    """
    width, side = 128, 1024
    sam = Sam(
        image_encoder=TinyImageEncoder(side, width, widths),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(side // 16, side // 16),
            input_image_size=(side, side),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=512),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        ),
    )
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 2
    sam.eval()
    return sam


def build_sam_nano() -> Sam:
    """Builds sam_tiny with an encoder of two fifths its size, half the parameters in all, for `training.distill`."""
    return build_sam_tiny(widths=(16, 32, 56, 80, 88))


REGISTRY: dict[str, Callable[[], Sam]] = {
    "sam_vit_h": build_sam_vit_h,
    "sam_vit_l": build_sam_vit_l,
    "sam_vit_b": build_sam_vit_b,
    "sam_tiny": build_sam_tiny,
    "sam_nano": build_sam_nano,
}


def load(model: str, checkpoint: Checkpoint, device: torch.device) -> Sam:
    """Builds a model and fills it from a checkpoint.

    The model is built without memory and uses the checkpoint's tensors, mapped from the file. ViT-H's 2.4 GB are
    neither initialised, nor held twice, nor (on the CPU) copied for each worker of a machine.

    Args:
        model: name in the registry.
        checkpoint: file of a state dict saved by `torch.save`, of any floating-point type.
        device: device that the model shall run on.

    Returns:
        The model in evaluation mode, single precision.

    Raises:
        CheckpointError: the model is unknown, or the file is no checkpoint or another model's.
    """
    if model not in REGISTRY:
        raise CheckpointError(f"unknown model {model!r}: the registry has {', '.join(REGISTRY)}")
    try:
        check_stored(checkpoint.path)
        state = torch.load(checkpoint.path, map_location="cpu", mmap=True, weights_only=True)
    except (BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"{checkpoint.uri} is not a checkpoint of tensors: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{checkpoint.uri} is not a state dict: names with tensors are expected")
    sam = _skeleton(model)
    if isinstance(sam.image_encoder, TinyImageEncoder) and not any(name.startswith(SEED_HEAD) for name in state):
        sam.image_encoder.seed_head = None
    if _shapes(state) != _shapes(sam.state_dict()):
        raise CheckpointError(_misfit(model, checkpoint.uri, state, sam))
    sam.load_state_dict(state, assign=True)
    return sam.float().to(device).eval()


def _skeleton(model: str) -> Sam:
    """Builds a model whose parameters have no memory; only Sam's constants, which no checkpoint has, are real."""
    with torch.device("meta"):
        sam = REGISTRY[model]()
    constants = Sam(torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity())
    sam.pixel_mean, sam.pixel_std = constants.pixel_mean, constants.pixel_std
    return sam


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _misfit(model: str, uri: str, state: Mapping[str, Any], sam: Sam) -> str:
    """Says which known model the checkpoint belongs to, or else how it differs from the model."""
    shapes, expected = _shapes(state), _shapes(sam.state_dict())
    for other in REGISTRY:
        if other != model and shapes == _shapes(_skeleton(other).state_dict()):
            return f"checkpoint {uri} is a checkpoint of {other}, but the model is {model}"
    missing, extra = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    other_shape = [name for name in sorted(expected.keys() & shapes.keys()) if shapes[name] != expected[name]]
    parts = (("missing", missing), ("not in the model", extra), ("of another shape", other_shape))
    faults = [f"{len(names)} tensors {what} ({', '.join(names[:3])}, …)" for what, names in parts if names]
    return f"checkpoint {uri} does not fit model {model}: {'; '.join(faults)}"
