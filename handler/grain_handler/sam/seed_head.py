"""A seed map for SAMs whose encoder predicts none: a small head on the frozen embedding.

`sam_tiny` predicts seeds itself. A vision transformer does not, but its embedding holds as much about grains. This head
reads it, with a million parameters and a hundredth of the encoder's work. A seed head is a file of its own beside the
checkpoint. `python -m training.seeds` makes it, and it fits the image encoder that it was trained with.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, cast
from zipfile import BadZipFile

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from grain_handler.errors import CheckpointError
from grain_handler.sam.tiny_encoder import SEED_CHANNELS, ResidualBlock, TinyImageEncoder
from grain_handler.storage.weights import Checkpoint
from grain_handler.storage.zips import check_stored

FORMAT = "grainserve seed head 1"
WIDTH, FINE = 128, 64
"""Channels at stride 16 and at stride 8."""


class SeedHead(nn.Module):
    """A small network that predicts a seed map from an embedding.

    Args:
        channels: channels of the embedding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.mix = nn.Sequential(ResidualBlock(WIDTH), ResidualBlock(WIDTH, dilation=2))
        self.split = nn.Conv2d(WIDTH, 4 * FINE, 1)
        self.norm = nn.GroupNorm(8, FINE)
        self.maps = nn.Conv2d(FINE, SEED_CHANNELS, 3, padding=1)

    @property
    def channels(self) -> int:
        """Channels of the embedding that it reads."""
        return self.read.in_channels

    def forward(self, embedding: Tensor) -> Tensor:
        """Predicts a seed map; `tiny_encoder.SEED_CHANNELS` lists its channels.

        Args:
            embedding: embedding, B × C × h × w, stride 16, single precision.

        Returns:
            The seed map, B × `SEED_CHANNELS` × 2h × 2w, stride 8.
        """
        fine = F.pixel_shuffle(self.split(self.mix(self.read(embedding))), 2)
        return cast(Tensor, self.maps(F.gelu(self.norm(fine))))


def new(model: str, sam: Sam) -> SeedHead:
    """Makes an untrained seed head for a model, on the model's device.

    Args:
        model: name in the registry.
        sam: the model.

    Raises:
        CheckpointError: the model takes seeds from its own checkpoint.
    """
    if isinstance(sam.image_encoder, TinyImageEncoder):
        raise CheckpointError(f"seeds: {model} takes its seeds from its own checkpoint and no seed head: leave it out")
    return SeedHead(sam.prompt_encoder.embed_dim).to(sam.device)


def content(head: SeedHead, model: str) -> dict[str, Any]:
    """Makes the content of a seed head's file, for `torch.save`, in half precision.

    Args:
        head: the seed head.
        model: name, in the registry, of the model whose embedding it reads.
    """
    return {"format": FORMAT, "model": model, "tensors": {k: v.half() for k, v in head.state_dict().items()}}


def load(file: Checkpoint, model: str, sam: Sam) -> SeedHead:
    """Loads a seed head for a model.

    Args:
        file: seed head's file, with the content that `content` makes.
        model: name in the registry.
        sam: model that the seed head shall serve.

    Returns:
        The seed head in evaluation mode, single precision, on the model's device.

    Raises:
        CheckpointError: the file is no seed head or another model's, or the model takes seeds from its own checkpoint.
    """
    head = new(model, sam)
    remedy = f"python -m training.seeds --model {model} makes one"
    try:
        check_stored(file.path)
        held = torch.load(file.path, map_location="cpu", weights_only=True)
    except (BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"seeds: {file.uri} cannot be read, it is damaged or no seed head: {remedy}") from error
    if not isinstance(held, Mapping) or held.get("format") != FORMAT:
        raise CheckpointError(f"seeds: {file.uri} is no seed head: {remedy}")
    if held["model"] != model:
        raise CheckpointError(
            f"seeds: {file.uri} is a seed head of {held['model']}, but the model is {model}: {remedy}"
        )
    tensors = held["tensors"]
    expected = {name: value.shape for name, value in head.state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        read = tensors["read.weight"].shape[1] if "read.weight" in tensors else "other"
        raise CheckpointError(
            f"seeds: {file.uri} reads embeddings of {read} channels, and does not fit those of {model}, which have "
            f"{head.channels}: {remedy}"
        )
    head.load_state_dict(tensors)
    return head.float().eval()
