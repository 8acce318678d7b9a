"""What is compared: stock, ours, and others' fast or convenient SAMs, all behind one interface."""

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
    """A system cannot be run, and why."""


class System(ABC):
    """One way of making automatic masks with a loaded model."""

    @abstractmethod
    def segment(self, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        """Does what is timed; returns the masks as this system gives them."""

    @abstractmethod
    def masks(self, answer: Any) -> list[Mask]:
        """The same masks as ours; not timed."""

    def watch(self, clock: StageClock, image: NDArray[np.uint8], settings: MaskSettings) -> Any:
        """`segment`, with its time split by stage; without marks all is `other`."""
        with clock.run():
            return self.segment(image, settings)


class Stock(System):
    """segment_anything's generator; it answers with run lengths, the cheapest form it has.

    Args:
        sam: The model.
        autocast: Encoder and decoder under torch's automatic mixed precision, the least that anyone would try.
            (All of it is not possible: the generator turns its scores into NumPy arrays, which have no bfloat16.)
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
            Mask(*crop_to_content(mask.numpy()), float(score), float("nan"))  # it does not tell the stability
            for mask, score in zip(answer["masks"], answer["scores"], strict=True)
        ]


def segment_anything_fast(sam: Sam) -> System:
    """Cannot be measured where its only source is a package index; says so."""
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
        Skipped: It cannot be run with this model.
    """
    if name == STOCK:
        return Stock(sam)
    return Ours(sam, name) if name in OURS else RIVALS[name](sam)
