"""The systems compared: stock, ours, and other fast or convenient SAMs, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.amg import rle_to_mask
from torch import nn

from benchmarks.against_stock import transformers_sam
from benchmarks.against_stock.stages import StageClock, watch_marks, watch_stock
from grain_handler.masks import Mask, crop_to_content
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.mask_settings import MaskSettings

STOCK = "stock"
OURS = ("fp32", "bf16", "int8")


class Skipped(Exception):
    """Raised when a system cannot be run; says why."""


class System(ABC):
    """A system that makes automatic masks with a loaded model."""

    @abstractmethod
    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        """Does the timed work; returns the masks in this system's own form."""

    @abstractmethod
    def masks(self, answer: Any) -> list[Mask]:
        """Converts the masks into our form; not timed."""

    def watch(self, clock: StageClock, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        """Runs `segment` with its time split by stage; without marks all time is `other`."""
        with clock.run():
            return self.segment(image, settings)


class Stock(System):
    """segment_anything's generator; it returns run lengths, its cheapest form.

    Args:
        sam: the model.
        autocast: whether encoder and decoder run under torch's automatic mixed precision, the first thing to try. (The
            whole generator cannot: it turns scores into NumPy arrays, which have no bfloat16.)
    """

    def __init__(self, sam: Sam, autocast: bool = False) -> None:
        self.sam, self.autocast = sam, autocast

    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        with self._precision():
            return self._generator(settings).generate(image)

    def watch(self, clock: StageClock, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        generator = self._generator(settings)
        with watch_stock(clock, generator), clock.run(), self._precision():
            return generator.generate(image)

    def masks(self, answer: Any) -> list[Mask]:
        return [
            Mask(*crop_to_content(rle_to_mask(found["segmentation"])), found["predicted_iou"], found["stability_score"])
            for found in answer
        ]

    @contextmanager
    def _precision(self) -> Iterator[None]:
        networks = (self.sam.image_encoder, self.sam.mask_decoder) if self.autocast else ()
        with ExitStack() as stack:
            for network in networks:
                stack.enter_context(mock.patch.object(network, "forward", self._in_bfloat16(network.forward)))
            yield

    def _in_bfloat16(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*positional: Any, **named: Any) -> Any:
            with torch.autocast(self.sam.device.type, torch.bfloat16):
                made = forward(*positional, **named)
            return made.float() if isinstance(made, torch.Tensor) else tuple(part.float() for part in made)

        return run

    def _generator(self, settings: MaskSettings) -> SamAutomaticMaskGenerator:
        return SamAutomaticMaskGenerator(
            self.sam,
            points_per_side=settings.points_per_side,
            points_per_batch=settings.points_per_batch,
            pred_iou_thresh=settings.pred_iou_thresh,
            stability_score_thresh=settings.stability_score_thresh,
            box_nms_thresh=settings.box_nms_thresh,
            output_mode="uncompressed_rle",
        )


class Ours(System):
    """grainserve's generator."""

    def __init__(self, sam: Sam, precision: str, seed_head: nn.Module | None = None) -> None:
        try:
            self.generator = MaskGenerator(sam, precision=precision, seed_head=seed_head)
        except ValueError as error:
            raise Skipped(str(error)) from error

    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        return self.generator.generate(image, settings)

    def watch(self, clock: StageClock, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        with watch_marks(clock), clock.run():
            return self.segment(image, settings)

    def masks(self, answer: Any) -> list[Mask]:
        found: list[Mask] = answer
        return found


class Transformers(System):
    """transformers' mask generation pipeline with the same weights."""

    def __init__(self, sam: Sam) -> None:
        if not transformers_sam.takes(sam):
            raise Skipped("transformers has no such image encoder")
        self.pipeline = transformers_sam.pipeline(sam)

    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        return transformers_sam.generate(self.pipeline, image, settings)

    def masks(self, answer: Any) -> list[Mask]:
        return [
            Mask(*crop_to_content(mask.numpy()), float(score), float("nan"))  # no stability from the pipeline
            for mask, score in zip(answer["masks"], answer["scores"], strict=True)
        ]


def segment_anything_fast(sam: Sam) -> System:
    """Says why segment-anything-fast cannot be measured where its only source is a package index."""
    raise Skipped(
        "pytorch-labs' segment-anything-fast is not on PyPI. The distribution of that name there (0.1.2) holds "
        "FastSAM, package `fastsam`: a YOLOv8 detector that needs ultralytics<=8.0.122 and its own checkpoint, and "
        "cannot take SAM's weights"
    )


RIVALS: dict[str, Callable[[Sam], System]] = {
    "stock under bf16 autocast": partial(Stock, autocast=True),
    "transformers": Transformers,
    "segment-anything-fast": segment_anything_fast,
}


def build(name: str, sam: Sam) -> System:
    """Makes a system: `stock`, a precision of ours, or a rival's name.

    Raises:
        Skipped: it cannot be run with this model.
    """
    if name == STOCK:
        return Stock(sam)
    return Ours(sam, name) if name in OURS else RIVALS[name](sam)
