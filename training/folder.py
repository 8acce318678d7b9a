"""Annotated images of one's own: a folder of images with label maps, or with one COCO file.

rock/
  A17.jpg   A17_labels.png     # 16-bit PNG or TIFF: 0 is no grain, each grain has a number
  A18.tif   A18_labels.tif
or
  *.jpg     annotations.json   # COCO: polygons or run lengths
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from tools.problem import Problem

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FRAME = 1024


@dataclass(frozen=True)
class Annotated:
    """An image and its grains.

    Attributes:
        name: The file's stem.
        image: H × W × 3, uint8, RGB; 1024 px at most on the longer side.
        labels: H × W, int32; 0 is no grain.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def read(folder: Path) -> list[Annotated]:
    """Reads a folder.

    Args:
        folder: Images with label maps beside them, or with one COCO file.

    Returns:
        The annotated images, by name; images over 1024 px are reduced, as they must be to be served.

    Raises:
        Problem: There are none, a label map has another size than its image, or holds no grain.
    """
    found = sorted(_pairs(folder), key=lambda each: each.name)
    if not found:
        raise Problem(
            f"{folder} has no annotated image. Expected are images with NAME_labels.png (or .tif) beside them, "
            'or one COCO .json file with "images" and "annotations".'
        )
    for each in found:
        if each.labels.max() == 0:
            raise Problem(f"the label map of {each.name} holds no grain")
    return found


def _pairs(folder: Path) -> Iterator[Annotated]:
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and {"images", "annotations"} <= set(content):
            yield from _coco(folder, content)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGES and not path.stem.endswith("_labels"):
            for suffix in (".png", ".tif", ".tiff"):
                labels = path.with_name(f"{path.stem}_labels{suffix}")
                if labels.exists():
                    yield _annotated(path, np.asarray(Image.open(labels)).astype(np.int32))


def _coco(folder: Path, content: dict[str, Any]) -> Iterator[Annotated]:
    for about in content["images"]:
        height, width = about["height"], about["width"]
        labels = np.zeros((height, width), np.int32)
        mine = [entry for entry in content["annotations"] if entry["image_id"] == about["id"]]
        # Large ones first, so that a grain on another one is not lost.
        for number, entry in enumerate(sorted(mine, key=lambda entry: -float(entry.get("area", 0))), start=1):
            labels[_decode(entry["segmentation"], height, width)] = number
        yield _annotated(folder / about["file_name"], labels)


def _decode(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        runs = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return np.asarray(coco.decode(runs)).astype(bool)


def _annotated(path: Path, labels: NDArray[np.int32]) -> Annotated:
    image = Image.open(path).convert("RGB")
    if labels.shape != (image.height, image.width):
        raise Problem(
            f"{path.name} is {image.width} × {image.height} px, its labels {labels.shape[1]} × {labels.shape[0]}"
        )
    scale = FRAME / max(image.size)
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    return Annotated(path.stem, np.asarray(image), labels)


def split(images: Sequence[Annotated], share: float, seed: int) -> tuple[list[Annotated], list[Annotated]]:
    """Images to learn from and images to stop by; one at least of each.

    Raises:
        Problem: There are fewer than two images.
    """
    if len(images) < 2:
        raise Problem("fine-tuning needs two annotated images at least: one to learn from, one to tell when to stop")
    order = np.random.default_rng(seed).permutation(len(images))
    kept = max(1, round(share * len(images)))
    return [images[i] for i in order[kept:]], [images[i] for i in order[:kept]]
