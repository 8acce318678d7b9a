"""Automatic masks: SAM is asked at many points of an image what lies there.

At the points of a grid, the masks are those of segment_anything's `SamAutomaticMaskGenerator`, many times faster;
`fused_encoder`, `mask_decoder` and `upsampling` explain how. The filters come in stock's order, so that the same masks
survive: predicted IoU, stability, crop edges, box NMS within each crop, box NMS between crops, small regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.profiler import record_function
from torchvision.ops import nms

from grain_handler.errors import NoSeeds
from grain_handler.masks import Mask, crop_to_content
from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import Crop, Framing, crops_of
from grain_handler.sam.grid_prompter import Prompter
from grain_handler.sam.mask_decoder import PromptDecoder
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.memory import Budget
from grain_handler.sam.precision import dtype_of, image_encoder
from grain_handler.sam.seed_prompter import SeedPrompter, worth_a_look
from grain_handler.sam.seeds import Votes
from grain_handler.sam.tiny_encoder import predicts_seeds

__all__ = ["MaskGenerator", "MaskSettings"]

FRAME_BYTES = 4 * 64 * 64 * 4 * 1280
"""Memory that the encoder needs for one image, bytes: the hidden layer of ViT-H for all tokens."""

NO_SEEDS = (
    "points: this model predicts no seeds: ask for points grid or adaptive, or name a seed head in its model config "
    "(seeds: …; python -m training.seeds makes one)"
)


@dataclass(frozen=True)
class Embedding:
    """An encoded image.

    Attributes:
        tokens: SAM's image embedding, 1 × C × side × side, single precision.
        maps: seed map, `SEED_CHANNELS` × h × w, single precision; None if the model predicts no seeds.
    """

    tokens: Tensor
    maps: Tensor | None

    @property
    def seed_map(self) -> Tensor:
        """The seed map.

        Raises:
            NoSeeds: the model predicts no seeds.
        """
        if self.maps is None:
            raise NoSeeds(NO_SEEDS)
        return self.maps


class MaskGenerator:
    """A generator of one model's automatic masks.

    Args:
        sam: stock model in evaluation mode, on its device. Its parameters are shared or copied, never changed.
        precision: `fp32` (exact), `bf16` or `int8`; see the module `precision`.
        memory_mib: memory that intermediate results may take, MiB; None takes the device's default.
        encoder: image encoder of the model, ready in this precision (see `compiled`); None makes one from `sam`.
        seed_head: seed head on the model's device, for an encoder that predicts no seeds; None if there is none.

    Attributes:
        predicts_seeds: True if the model can be asked at seeds.

    Raises:
        ValueError: the precision is unknown, or the model has nothing to quantise.
    """

    def __init__(
        self,
        sam: Sam,
        precision: str = "fp32",
        memory_mib: int | None = None,
        encoder: nn.Module | None = None,
        seed_head: nn.Module | None = None,
    ) -> None:
        self.dtype = dtype_of(precision)
        with torch.inference_mode():
            self.encoder = image_encoder(sam.image_encoder, precision) if encoder is None else encoder
            self.decoder = PromptDecoder(sam, self.dtype)
        self.seed_head = seed_head
        self.predicts_seeds = seed_head is not None or predicts_seeds(sam.image_encoder)
        self.framing = Framing(sam)
        self.budget = Budget(sam.device, memory_mib)

    @torch.inference_mode()
    def embed(self, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        """Encodes images.

        Args:
            images: images, each H × W × 3, uint8, RGB.

        Returns:
            The images' embeddings, in the same order.
        """
        with record_function("grainserve::encoder"):
            frames = torch.stack([self.framing.frame(image) for image in images]).to(self.dtype)
            parts = self.budget.chunks(len(frames), FRAME_BYTES, lambda part: self._encode(frames[part]))
            return [each for part in parts for each in part]

    def _encode(self, frames: Tensor) -> list[Embedding]:
        made = self.encoder(frames)
        tokens, maps = made if isinstance(made, tuple) else (made, None)
        tokens = tokens.float()
        if self.seed_head is not None:
            maps = self.seed_head(tokens)
        return [Embedding(tokens[i : i + 1], None if maps is None else maps[i].float()) for i in range(len(frames))]

    @torch.inference_mode()
    def generate(
        self, image: NDArray[np.uint8], settings: MaskSettings, embedding: Embedding | None = None
    ) -> list[Mask]:
        """Segments everything in an image.

        Args:
            image: H × W × 3, uint8, RGB.
            settings: grid, thresholds and crops.
            embedding: embedding of the whole image, if `embed` has made it already.

        Returns:
            Masks, which may overlap, in stock's order.

        Raises:
            NoSeeds: the settings ask for seeds, and the model predicts none.
        """
        height, width = image.shape[:2]
        ask = self._ask_seeds if settings.points == "seeds" else self._ask_grid
        crops, found = [], []
        for crop, candidates in ask(image, settings, embedding):
            with record_function("grainserve::nms"):
                found.append(candidates[nms(candidates.boxes.float(), candidates.iou, settings.box_nms_thresh)])
            crops.append(crop)
        found, order = _drop_between_crops(found, crops, settings.crop_nms_thresh)
        with record_function("grainserve::render"):
            masks = [
                mask
                for crop, kept in zip(crops, found, strict=True)
                for mask in kept.render(self.framing.upsampler(crop), self.budget, *crop.box[:2])
            ]
        masks = [masks[i] for i in order]
        if settings.min_mask_region_area > 0:
            masks = _clean(masks, height, width, settings)
        return masks

    def _ask_grid(
        self, image: NDArray[np.uint8], settings: MaskSettings, embedding: Embedding | None
    ) -> Iterator[tuple[Crop, Candidates]]:
        """Asks all crops at the points of a grid."""
        prompter, grids = Prompter(self.decoder, self.framing, self.budget, settings), settings.grids()
        for crop in _crops(image, settings):
            if embedding is None or crop.layer > 0:
                (embedding,) = self.embed([crop.of(image)])
            yield crop, prompter.ask(crop, embedding.tokens, grids[crop.layer])

    def _ask_seeds(
        self, image: NDArray[np.uint8], settings: MaskSettings, embedding: Embedding | None
    ) -> Iterator[tuple[Crop, Candidates]]:
        """Asks the image at its seeds, and a layer's crops only where seeds of the layer before show small grains."""
        prompter = SeedPrompter(self.decoder, self.framing, self.budget, settings)
        seen: list[tuple[Crop, Votes]] = []
        for crop in _crops(image, settings):
            if not worth_a_look(crop, seen):
                continue
            if embedding is None or crop.layer > 0:
                (embedding,) = self.embed([crop.of(image)])
            seen.append((crop, prompter.votes(crop, embedding.seed_map)))
            yield crop, prompter.ask(crop, embedding.tokens, seen[-1][1])


def _crops(image: NDArray[np.uint8], settings: MaskSettings) -> list[Crop]:
    height, width = image.shape[:2]
    return crops_of(height, width, settings.crop_n_layers, settings.crop_overlap_ratio)


def _drop_between_crops(
    found: Sequence[Candidates], crops: Sequence[Crop], threshold: float
) -> tuple[list[Candidates], list[int]]:
    """Drops masks whose boxes overlap those of a smaller crop's masks.

    Returns:
        The kept candidates of each crop; and stock's order of all kept masks, as indices among them.
    """
    if len(crops) == 1:
        return list(found), list(range(len(found[0])))
    boxes = torch.cat(
        [part.boxes + part.boxes.new_tensor(2 * crop.box[:2]) for part, crop in zip(found, crops, strict=True)]
    )
    owner = torch.cat([part.boxes.new_full((len(part),), i) for i, part in enumerate(found)])
    area = boxes.new_tensor([crop.area for crop in crops], dtype=torch.float32)[owner]
    keep = nms(boxes.float(), 1 / area, threshold)
    starts = np.cumsum([0] + [len(part) for part in found])
    kept = [part[keep[owner[keep] == i] - int(starts[i])] for i, part in enumerate(found)]
    # Kept masks are listed crop by crop, within a crop in the order of the NMS.
    return kept, torch.argsort(torch.argsort(owner[keep], stable=True)).tolist()


def _clean(masks: Sequence[Mask], height: int, width: int, settings: MaskSettings) -> list[Mask]:
    """Removes small regions of masks, then masks that have become duplicates; prefers masks that did not change."""
    from grain_handler.sam.small_regions import remove_small_regions  # noqa: PLC0415 - SciPy, which nothing else here needs

    if not masks:
        return []
    cleaned, changed = [], []
    for mask in masks:
        frame, different = remove_small_regions(mask.full(height, width), settings.min_mask_region_area)
        x, y, patch = crop_to_content(frame)
        cleaned.append(replace(mask, x=x, y=y, patch=patch) if different else mask)
        changed.append(different)
    boxes = torch.tensor([_box(mask) for mask in cleaned], dtype=torch.float32)
    scores = 1 - torch.tensor(changed, dtype=torch.float32)
    keep = nms(boxes, scores, max(settings.box_nms_thresh, settings.crop_nms_thresh))
    return [cleaned[i] for i in keep.tolist()]


def _box(mask: Mask) -> tuple[int, int, int, int]:
    """Returns a mask's left, top, right and bottom, inclusive, px; zeros for an empty mask."""
    height, width = mask.patch.shape
    return (mask.x, mask.y, mask.x + width - 1, mask.y + height - 1) if mask.patch.size else (0, 0, 0, 0)
