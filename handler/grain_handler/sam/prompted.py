"""Prompted masks: SAM's masks for points, for a box, or for a mask to refine.

The masks are those of segment_anything's `SamPredictor`. Prompts of one form (the same number of points, with or
without a box, one mask or three) are decoded together, even if their images differ. Prompts without a mask on one image
share its prepared image tokens; every other prompt has image tokens of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import record_function

from grain_handler.masks import Mask
from grain_handler.prompt import Earlier, Prompt
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.candidates import Candidates
from grain_handler.sam.crops import LOW_PX, Crop
from grain_handler.sam.mask_decoder import AMBIGUOUS, MASKS, SINGLE, ImageTokens, WindowTokens
from grain_handler.sam.mask_settings import MaskSettings
from grain_handler.sam.upsampling import Upsampler

SURE = 7.0
"""Logit of a pixel in a given mask, a probability of 0.999; a pixel outside it has the negative."""

PREPARED = 16
"""Number of embeddings whose prepared image tokens are kept on a CPU, those that were asked about last; 5 to 10 MiB
each."""

STABILITY_OFFSET = MaskSettings().stability_score_offset
"""Shift of the threshold that the stability score compares masks at, as for automatic masks."""

Place = tuple[int, int]
"""Index of a prompt's image, and index of the prompt on that image."""
Places = list[Place]


@dataclass(frozen=True)
class Asked:
    """The prompts on one image.

    Attributes:
        tokens: embedding of the image, 1 × C × side × side.
        size: height and width of the image, px.
        prompts: prompts on the image.
    """

    tokens: Tensor
    size: tuple[int, int]
    prompts: Sequence[Prompt]


@dataclass(frozen=True)
class Answered:
    """One mask of a prompt.

    Attributes:
        mask: mask; empty if no logit exceeds the threshold.
        number: index of the mask among the decoder's masks for the prompt, from 0.
    """

    mask: Mask
    number: int


class MaskPredictor:
    """Makes the prompted masks of one model.

    Args:
        generator: generator of automatic masks, whose decoder, framing and memory budget are shared.
    """

    def __init__(self, generator: MaskGenerator) -> None:
        self.decoder, self.framing, self.budget = generator.decoder, generator.framing, generator.budget
        self.upsampler: Callable[[tuple[int, int]], Upsampler] = lru_cache(maxsize=32)(self._upsampler)
        # By the tensor's identity: on a CPU a kept embedding is the same tensor at every click. A GPU gets a copy of it
        # for each request, and prepares it in no time.
        keep = lru_cache(maxsize=PREPARED) if self.framing.device.type == "cpu" else _keep_nothing
        self.prepared: Callable[[Tensor], ImageTokens] = keep(self.decoder.prepare)

    @torch.inference_mode()
    def predict(self, asked: Sequence[Asked]) -> list[list[list[Answered]]]:
        """Answers all prompts of a batch of images.

        Args:
            asked: prompts on each image.

        Returns:
            For each image and each of its prompts, the masks, the highest predicted IoU first.
        """
        answers: list[list[list[Answered]]] = [[[] for _ in each.prompts] for each in asked]
        for places, logits, iou in self._decoded(asked, self._tokens_inside):
            with record_function("grainserve::render"):
                for i, some in groupby(range(len(places)), key=lambda n: places[n][0]):
                    chosen = list(some)
                    masks = self._masks(asked[i].size, logits[chosen], iou[chosen])
                    for n, found in zip(chosen, masks, strict=True):
                        answers[i][places[n][1]] = found
        return answers

    def _decoded(
        self, asked: Sequence[Asked], part: Callable[[tuple[int, int]], tuple[int, int]]
    ) -> Iterator[tuple[Places, Tensor, Tensor]]:
        """Decodes prompts form by form, as many at once as the memory budget allows: low-resolution logits and IoU.

        Args:
            asked: prompts on each image.
            part: returns the rows and columns of tokens whose logits are needed, for an image's height and width.
        """
        given = self._given(asked)

        def form(place: Place) -> tuple[int, bool, bool]:
            prompt = asked[place[0]].prompts[place[1]]
            return len(prompt.points), prompt.box is not None, prompt.multimask

        every = sorted(((i, k) for i, each in enumerate(asked) for k in range(len(each.prompts))), key=form)
        for (points, _, _), alike in groupby(every, key=form):
            places = list(alike)

            def step(some: slice, places: Places = places) -> tuple[Places, Tensor, Tensor]:
                return places[some], *self._decode(asked, places[some], given, part)

            yield from self.budget.chunks(len(places), self._bytes_per_prompt(points), step)

    def _given(self, asked: Sequence[Asked]) -> dict[Place, Tensor]:
        """Collects the masks to refine, as low-resolution logits; decodes earlier prompts again for theirs."""
        given: dict[Place, Tensor] = {}
        before: list[tuple[Place, Earlier]] = []
        for i, each in enumerate(asked):
            for k, prompt in enumerate(each.prompts):
                if isinstance(prompt.mask, Earlier):
                    before.append(((i, k), prompt.mask))
                elif prompt.mask is not None:
                    given[i, k] = self.low_resolution(prompt.mask, each.size)
        if before:
            again = [
                replace(each, prompts=[earlier.prompt for (i, _), earlier in before if i == number])
                for number, each in enumerate(asked)
            ]
            made = {
                place: made
                for places, logits, _ in self._decoded(again, self._all_tokens)
                for place, made in zip(places, logits, strict=True)
            }
            counts = [0] * len(asked)
            for (i, k), earlier in before:
                given[i, k] = made[i, counts[i]][earlier.number]
                counts[i] += 1
        return given

    def _decode(
        self,
        asked: Sequence[Asked],
        places: Places,
        given: Mapping[Place, Tensor],
        part: Callable[[tuple[int, int]], tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Computes logits (P × m × 4·rows × 4·columns) and predicted IoU (P × m) of prompts of one form."""
        i, k = places[0]
        which = AMBIGUOUS if asked[i].prompts[k].multimask else SINGLE
        with record_function("grainserve::decoder"):
            image = self._image(asked, places, given)
            iou, tokens, keys = self.decoder.decode(image, self._sparse(asked, places), which)
        with record_function("grainserve::upscaling"):
            rows, columns = (max(most) for most in zip(*(part(asked[i].size) for i, _ in places), strict=True))
            return self.decoder.logits(tokens, keys, rows, columns, which), iou

    def _tokens_inside(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns the rows and columns of tokens from which an image's pixels are interpolated."""
        upsampler = self.upsampler(size)
        return upsampler.vertical.tokens, upsampler.horizontal.tokens

    def _all_tokens(self, _size: tuple[int, int]) -> tuple[int, int]:
        """Returns the rows and columns of all tokens: a mask to refine is the whole frame's."""
        side = self.framing.side // (4 * LOW_PX)
        return side, side

    def _image(
        self, asked: Sequence[Asked], places: Places, given: Mapping[Place, Tensor]
    ) -> ImageTokens | WindowTokens:
        """Prepares the image tokens: one image's if all prompts can share them, else each prompt's own."""
        images = [self.prepared(asked[i].tokens) for i, _ in places]
        brought = [n for n, place in enumerate(places) if place in given]
        if not brought and all(image is images[0] for image in images):
            return images[0]
        if brought:
            masks = self.decoder.masks(torch.stack([given[places[n]] for n in brought]))
            for n, mask in zip(brought, masks, strict=True):
                images[n] = self.decoder.prepare(asked[places[n][0]].tokens, mask[None])
        return WindowTokens.whole(images)

    def _bytes_per_prompt(self, points: int) -> int:
        """Memory of one prompt: the decoder's arrays, image tokens of its own, attention weights, its masks twice."""
        cells = len(self.decoder.position[0])
        tokens = MASKS + 2 + points + 2
        weights: int = 3 * self.decoder.token_to_image[0].heads * tokens * cells * self.decoder.dtype.itemsize
        return self.decoder.bytes_per_prompt * 11 // 8 + weights + 2 * 4 * MASKS * 16 * cells

    def _upsampler(self, size: tuple[int, int]) -> Upsampler:
        return self.framing.upsampler(_whole(size))

    def _sparse(self, asked: Sequence[Asked], places: Places) -> Tensor:
        """Encodes points and boxes of prompts of one form as prompt tokens, P × t × C."""
        prompts, sizes = [asked[i].prompts[k] for i, k in places], [asked[i].size for i, _ in places]
        resize, device = self.framing.resize, self.framing.device
        points = boxes = None
        if len(prompts[0].points):
            placed = [resize.apply_coords(p.points, size) for p, size in zip(prompts, sizes, strict=True)]
            labels = np.stack([prompt.labels for prompt in prompts])
            points = (
                torch.as_tensor(np.stack(placed), dtype=torch.float32, device=device),
                torch.as_tensor(labels, dtype=torch.int, device=device),
            )
        if prompts[0].box is not None:
            corners = [resize.apply_boxes(p.box, size) for p, size in zip(prompts, sizes, strict=True)]
            boxes = torch.as_tensor(np.concatenate(corners), dtype=torch.float32, device=device)
        if points is None and boxes is None:
            return torch.zeros(len(prompts), 0, self.decoder.output_tokens.shape[1], device=device)
        tokens: Tensor = self.decoder.prompt_encoder(points=points, boxes=boxes, masks=None)[0]
        return tokens

    def low_resolution(self, mask: Mask, size: tuple[int, int]) -> Tensor:
        """Converts a mask to refine to low-resolution logits, 4·side × 4·side; the padding is outside the mask."""
        side = self.framing.side
        pixels = torch.as_tensor(mask.full(*size), dtype=torch.float32, device=self.framing.device)[None, None]
        inside = self.framing.resize.get_preprocess_shape(*size, side)
        frame = F.interpolate(pixels, size=inside, mode="bilinear", align_corners=False)[0]
        frame = F.pad(frame, (0, side - inside[1], 0, side - inside[0]))
        return SURE * (2 * F.avg_pool2d(frame, LOW_PX)[0] - 1)

    def _masks(self, size: tuple[int, int], logits: Tensor, iou: Tensor) -> Iterator[list[Answered]]:
        """Renders the masks of prompts on one image (logits P × m × …, predicted IoU P × m), the best first."""
        upsampler, (prompts, count) = self.upsampler(size), iou.shape
        inside = logits[..., : upsampler.vertical.low, : upsampler.horizontal.low].flatten(0, 1)
        tiles = upsampler.tiles(inside, self.framing.mask_threshold, -STABILITY_OFFSET)
        stability, boxes = upsampler.measure(tiles, prompts * count, STABILITY_OFFSET, self.budget)
        found = Candidates(tiles, iou.flatten(), stability.nan_to_num(0), boxes)
        masks = found.render(upsampler, self.budget, 0, 0)
        for n, order in enumerate(iou.argsort(dim=1, descending=True, stable=True).tolist()):
            yield [Answered(masks[n * count + number], number) for number in order]


def _keep_nothing(prepare: Callable[[Tensor], ImageTokens]) -> Callable[[Tensor], ImageTokens]:
    return prepare


def _whole(size: tuple[int, int]) -> Crop:
    """The crop that is all of an image of a size (height, width)."""
    return Crop((0, 0, size[1], size[0]), 0, size)
