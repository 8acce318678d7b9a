"""Checkpoints as they are served: with the options and the precision of their model config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from grain_handler.errors import RequestError
from grain_handler.sam import seed_head
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.precision import resolve
from grain_handler.segment import mask_settings, settle
from grain_handler.storage.weights import Checkpoint
from grain_handler.wire.options import Options, parse_options
from tools.mar import ROOT
from tools.problem import Problem
from training.checkpoints import fetch, load, said

Finder = Callable[[NDArray[np.uint8]], NDArray[np.int32]]
"""A function: image (H × W × 3, uint8) → label map (H × W, int32)."""


@dataclass(frozen=True)
class Served:
    """A model with its checkpoint and options, not loaded yet.

    Attributes:
        model: model name in the registry.
        checkpoint: checkpoint of the model.
        options: options of the segmentation.
        precision: key of `grain_handler.sam.precision.PRECISIONS`.
        device: device to compute on, the GPU if there is one.
        seeds: seed head of a model that predicts no seeds itself; None: none.
    """

    model: str
    checkpoint: Checkpoint
    options: Options
    precision: str
    device: torch.device
    seeds: Checkpoint | None = None

    @classmethod
    def read(
        cls, model: str, checkpoint: str, changes: Mapping[str, str] | None = None, seeds: str | None = None
    ) -> Served:
        """Reads a model's config.

        Args:
            model: model name in the registry; there must be a config of it.
            checkpoint: file or `gs://`, in place of the config's checkpoint.
            changes: options that replace those of the config, as text.
            seeds: file or `gs://` of a seed head; None: none, even if the config names one.

        Raises:
            Problem: there is no such checkpoint, or an option is wrong.
        """
        config = yaml.safe_load((ROOT / "config" / f"{model}.yaml").read_text())["grainserve"]
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            options = parse_options(changes or {}, config["defaults"], text=True)
        except RequestError as error:
            raise Problem(error.message) from error
        precision, head = resolve(config["precision"], device), fetch(seeds) if seeds else None
        return cls(model, fetch(checkpoint), options, precision, device, head)

    def about(self) -> dict[str, Any]:
        """Returns all that figures depend on, for files of raw results."""
        return {
            "model": self.model,
            "checkpoint_crc32c": self.checkpoint.crc32c,
            "precision": self.precision,
            "options": self.options.model_dump(),
            **({"seeds_crc32c": self.seeds.crc32c} if self.seeds else {}),
        }

    def generator(self) -> MaskGenerator:
        """Loads the model.

        Raises:
            Problem: the checkpoint or the seed head cannot be read, or is that of another model.
        """
        sam = load(self.model, self.checkpoint, self.device)
        with said():
            head = seed_head.load(self.seeds, self.model, sam) if self.seeds else None
        return MaskGenerator(sam, self.precision, seed_head=head)

    def finder(self) -> Finder:
        """Loads the model; returns a function that finds grains with it, as the handler does.

        Raises:
            Problem: the checkpoint or the seed head cannot be read, or is that of another model.
        """
        generator, options = self.generator(), self.options

        def find(image: NDArray[np.uint8]) -> NDArray[np.int32]:
            height, width = image.shape[:2]
            masks = generator.generate(image, mask_settings(options, height, width))
            return settle(masks, options, height, width).labels

        return find
