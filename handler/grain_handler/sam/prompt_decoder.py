"""A decoder for prompts: prompt encoder and mask decoder that have learnt to be corrected by clicks.

They take the place of the checkpoint's own in a model that answers prompts alone. The image encoder stays the
checkpoint's, so kept embeddings serve both. `python -m training.clicks` makes such a file; it fits the checkpoint that
it was trained with.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile

import torch
from segment_anything.modeling import Sam

from grain_handler.errors import CheckpointError
from grain_handler.storage.weights import Checkpoint
from grain_handler.storage.zips import check_stored

FORMAT = "grainserve prompt decoder 1"
PARTS = ("prompt_encoder.", "mask_decoder.")
"""Beginnings of the names of its tensors, as in a checkpoint."""


def content(sam: Sam, model: str, checkpoint: str) -> dict[str, Any]:
    """Makes the content of a prompt decoder's file, for `torch.save`, in half precision.

    Args:
        sam: model with the parts.
        model: its name in the registry.
        checkpoint: CRC32C of the checkpoint that has its image encoder.
    """
    tensors = {name: value.half() for name, value in sam.state_dict().items() if name.startswith(PARTS)}
    return {"format": FORMAT, "model": model, "checkpoint": checkpoint, "tensors": tensors}


def load(file: Checkpoint, model: str, checkpoint: Checkpoint, sam: Sam) -> None:
    """Puts a prompt decoder in the place of a model's own prompt encoder and mask decoder.

    Args:
        file: prompt decoder's file, with the content that `content` makes.
        model: name in the registry.
        checkpoint: the model's checkpoint.
        sam: the model; changed in place.

    Raises:
        CheckpointError: the file is no prompt decoder, or that of another model or checkpoint.
    """
    remedy = f"python -m training.clicks --start {checkpoint.uri} makes one"
    try:
        check_stored(file.path)
        held = torch.load(file.path, map_location="cpu", weights_only=True)
    except (BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"prompt_decoder: {file.uri} cannot be read, it is damaged or no prompt decoder: {remedy}"
        ) from error
    if not isinstance(held, Mapping) or held.get("format") != FORMAT:
        raise CheckpointError(f"prompt_decoder: {file.uri} is no prompt decoder: {remedy}")
    if (held.get("model"), held.get("checkpoint")) != (model, checkpoint.crc32c):
        raise CheckpointError(
            f"prompt_decoder: {file.uri} was made for {held.get('model')} with checkpoint {held.get('checkpoint')}, "
            f"and the model is {model} with {checkpoint.crc32c} ({checkpoint.uri}): {remedy}"
        )
    state, tensors = sam.state_dict(), held.get("tensors")
    own = {name: value.shape for name, value in state.items() if name.startswith(PARTS)}
    given = tensors if isinstance(tensors, Mapping) else {}
    if {name: getattr(value, "shape", None) for name, value in given.items()} != own:
        raise CheckpointError(f"prompt_decoder: {file.uri} has other tensors than {model}: {remedy}")
    sam.load_state_dict(state | {name: value.to(state[name]) for name, value in given.items()})
