"""Endless training batches: crops of annotated images, with prompts and the labels that these mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.synthetic import synthesize

FRAME = 1024
"""Side of the frame that SAM's encoder sees, px. Crops are placed somewhere in it."""

MIX = (256, 512, 256, 512, 1024, 512, 256, 512)
"""Sides of the crops of successive batches, px."""

GRAIN_PX = {512: (8, 110), 1024: (12, 190)}
"""Range of the grains' typical diameters, px, by the side of a synthetic image, px; drawn log-uniformly. It reaches
down to the sizes that fill a photograph of sand or gravel."""

UNKNOWN = -1
"""Label of pixels that nobody annotated: neither ground nor grain. No prompt means them, and no loss counts them."""

KINDS = {"anywhere": 0.25, "middle": 0.35, "inside": 0.2, "box": 0.2}
"""Kinds of prompts, and the share of each: a point anywhere, as in a grid; a point near a grain's centroid, as seeds
are; a point anywhere inside a grain; a grain's box."""

NEAR = 0.12
"""Standard deviation of a `middle` point from the centroid, as a share of the grain's diameter."""

BOX_ERROR = 0.06
"""Standard deviation of a box's sides, as a share of its longer one."""


@dataclass(frozen=True)
class Batch:
    """One training batch: B crops of side S with P prompts each.

    Attributes:
        images: B × 3 × S × S, uint8, RGB.
        labels: B × S × S, int32; 0 is background, `UNKNOWN` is not annotated.
        origins: B × 2, float32, (x, y) of each crop in the frame, px, multiples of 16.
        prompts: B × P × 4, float32, (x, y, x, y) in the crop, px: two corners of a box, or a point twice.
        is_box: B × P, bool; whether the prompt is a box.
        targets: B × P, int32; the label meant, 0 for a point on background, `UNKNOWN` for one that is not annotated.
    """

    images: Tensor
    labels: Tensor
    origins: Tensor
    prompts: Tensor
    is_box: Tensor
    targets: Tensor


Pair = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""An image (H × W × 3) and its labels (H × W)."""


def synthetic(rng: Generator) -> Pair:
    """Draws a synthetic image of 512 px, as people crop them, or of 1024 px, as from a camera, with smaller grains."""
    side = 512 if rng.uniform() < 0.65 else FRAME
    low, high = np.log(GRAIN_PX[side])
    made = synthesize(rng, height=side, width=side, grain_px=float(np.exp(rng.uniform(low, high))))
    return made.image, made.labels


class CropStream(IterableDataset[Batch]):
    """An endless stream of batches. It draws new images as it goes: each gives about `crops_per_image` crops.

    Small crops are cheap, but a model trained on them alone fails on the whole frame, where attention has sixteen times
    as many places to look at. So batches of three sizes alternate, see `MIX`.

    Args:
        seed: seed of the stream; each worker process adds its number.
        crops: crops of 256 px in a batch. Batches of larger crops hold fewer, of the same area; at least one.
        prompts: prompts per crop; or a mapping from the crop's side, px, to the number.
        crops_per_image: crops cut from one image, in units of 256 × 256 px.
        source: draws an image with its labels.
        sides: sides of the crops of successive batches, px.
    """

    def __init__(
        self,
        seed: int,
        *,
        crops: int = 8,
        prompts: int | Mapping[int, int] = 8,
        crops_per_image: int = 64,
        source: Callable[[Generator], Pair] = synthetic,
        sides: Sequence[int] = MIX,
    ) -> None:
        self.seed, self.crops, self.prompts, self.crops_per_image = seed, crops, prompts, crops_per_image
        self.source, self.sides = source, sides

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        pool = [self.source(rng) for _ in range(12)]
        cut = 0
        for number in range(2**62):
            side = self.sides[number % len(self.sides)]
            count = max(1, self.crops * 256**2 // side**2)
            rows = []
            for _ in range(count):
                rows.append(_crop(rng, *pool[int(rng.integers(len(pool)))], side))
                cut += (side // 256) ** 2
            while cut >= self.crops_per_image:
                pool[int(rng.integers(len(pool)))] = self.source(rng)
                cut -= self.crops_per_image
            yield _collate(rng, rows, self.prompts if isinstance(self.prompts, int) else self.prompts[side])


def prefetched(stream: CropStream, workers: int) -> Iterator[Batch]:
    """Iterates over a stream's batches.

    Args:
        stream: stream of batches.
        workers: processes that make batches ahead; 0: batches are made when they are needed.
    """
    loader = DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
    return iter(loader)


def _crop(rng: Generator, image: NDArray[np.uint8], labels: NDArray[np.int32], side: int) -> Pair:
    """Cuts an augmented crop. SAM enlarges small images to its frame, so crops are enlarged too."""
    zoom = float(np.exp(rng.uniform(0, np.log(4)))) if rng.uniform() < 0.5 else 1.0
    # An image smaller than the crop is enlarged at least to the crop's side.
    zoom = max(zoom, side / min(image.shape[:2]))
    window = min(max(64, round(side / zoom)), *image.shape[:2])
    y = int(rng.integers(0, image.shape[0] - window + 1))
    x = int(rng.integers(0, image.shape[1] - window + 1))
    image, labels = image[y : y + window, x : x + window], labels[y : y + window, x : x + window]
    if window != side:
        size = (side, side)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    turns = int(rng.integers(4))
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if rng.uniform() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if rng.uniform() < 0.15:
        image = image[..., rng.permutation(3)]
    if rng.uniform() < 0.1:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    if rng.uniform() < 0.5:  # another exposure and another white balance
        light = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)) * (image / 255.0) ** np.exp(rng.normal(0, 0.2))
        image = np.asarray(np.clip(255 * light, 0, 255), np.uint8)
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _collate(rng: Generator, rows: list[tuple[NDArray[np.uint8], NDArray[np.int32]]], prompts: int) -> Batch:
    side = rows[0][0].shape[0]
    drawn = [_prompts(rng, labels, prompts) for _, labels in rows]
    origins = 16.0 * rng.integers(0, (FRAME - side) // 16 + 1, (len(rows), 2))
    return Batch(
        images=torch.from_numpy(np.stack([image for image, _ in rows])).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(np.stack([labels for _, labels in rows])),
        origins=torch.from_numpy(origins.astype(np.float32)),
        prompts=torch.from_numpy(np.stack([d[0] for d in drawn])),
        is_box=torch.from_numpy(np.stack([d[1] for d in drawn])),
        targets=torch.from_numpy(np.stack([d[2] for d in drawn])),
    )


def _prompts(
    rng: Generator, labels: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32]]:
    """Draws prompts of every kind. For most, a grain is drawn first, so that small grains are not rare."""
    side = labels.shape[0]
    boxes = ndimage.find_objects(np.maximum(labels, 0))
    present = [label for label, box in enumerate(boxes, start=1) if box is not None]
    prompts = np.zeros((count, 4), np.float32)
    is_box = np.zeros(count, bool)
    targets = np.zeros(count, np.int32)
    kinds = rng.choice(list(KINDS), count, p=list(KINDS.values()))
    for i, kind in enumerate(kinds):
        if len(present) == 0 or kind == "anywhere":
            y, x = rng.integers(0, side, 2)
            targets[i] = labels[y, x]
            prompts[i] = (x + 0.5, y + 0.5) * 2
            continue
        targets[i] = rng.choice(present)
        rows, columns = boxes[targets[i] - 1]
        ys, xs = np.nonzero(labels[rows, columns] == targets[i])
        ys, xs = ys + rows.start, xs + columns.start
        if kind == "box":
            is_box[i] = True
            box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
            extent = max(box[2] - box[0], box[3] - box[1])
            prompts[i] = np.clip(box + rng.normal(0, BOX_ERROR * extent, 4), 0, side)
        elif kind == "middle":
            spread = NEAR * np.sqrt(len(ys))
            x, y = np.clip(rng.normal((xs.mean() + 0.5, ys.mean() + 0.5), spread), 0.5, side - 0.5)
            prompts[i] = (x, y) * 2
            # A point on ground beside a crooked grain still means that grain; a point on another grain means the other.
            here = int(labels[int(y), int(x)])
            targets[i] = here if here > 0 else targets[i]
        else:
            k = int(rng.integers(len(ys)))
            prompts[i] = (xs[k] + 0.5, ys[k] + 0.5) * 2
    return prompts, is_box, targets
