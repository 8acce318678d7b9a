"""Reads folders of annotated images: images with label maps, or with one COCO file.

rock/
  A17.jpg   A17_labels.png     # 16-bit PNG or TIFF: 0 is no grain, each grain has a number
  A18.tif   A18_labels.tif
or
  *.jpg     annotations.json   # COCO: polygons or run lengths
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from grain_handler.reading.picture import BROKEN, read_header, read_picture
from grain_handler.reading.refusal import Refused
from grain_handler.wire.image import MAX_SIDE
from tools.problem import Problem

T = TypeVar("T", bound=np.generic)

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
BESIDE = ("_labels", "_overlay", "_sizes")
"""Endings of pictures that are no images to learn from: label maps, and pictures that `grainserve analyze` draws."""

KEPT_APART = 0.2
"""Share of the images that `split` sets aside."""


@dataclass(frozen=True)
class Annotated:
    """An image and its grains.

    Attributes:
        name: stem of the file's name.
        image: H × W × 3, uint8, RGB, as the handler decodes it; 1024 px at most on the longer side.
        labels: H × W, int32; 0 is no grain.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def read(folder: Path) -> list[Annotated]:
    """Reads a folder of annotated images.

    Args:
        folder: folder of images with label maps beside them, or with one COCO file.

    Returns:
        The annotated images, sorted by name. Images over 1024 px are reduced to the size in which they are served.

    Raises:
        Problem: there are no images, an image occurs twice, a file cannot be read, or labels have another size than
            their image or hold no grain.
    """
    found: dict[str, tuple[Annotated, str]] = {}
    for each, files in _pairs(folder):
        if each.name in found:
            raise Problem(f"{folder} has {each.name} twice, as {found[each.name][1]} and as {files}: keep one")
        if each.labels.max() == 0:
            raise Problem(f"the label map of {each.name} holds no grain")
        found[each.name] = each, files
    if not found:
        raise Problem(
            f"{folder} has no annotated image. Expected are images with NAME_labels.png (or .tif) beside them, "
            'or one COCO .json file with "images" and "annotations".'
        )
    return [found[name][0] for name in sorted(found)]


def files_of(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns the images of a folder, sorted by path, without label maps and pictures that `grainserve analyze` draws.

    Args:
        folder: folder of images.
        pattern: `*`, or `**/*` to look into the folders in it as well.

    Raises:
        Problem: there is no such folder.
    """
    if not folder.is_dir():
        raise Problem(f"there is no folder {folder}: name the one that holds your images")
    return [p for p in sorted(folder.glob(pattern)) if p.suffix.lower() in IMAGES and not p.stem.endswith(BESIDE)]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads an image as the handler does: H × W × 3, uint8, RGB, upright; 1024 px at most on the longer side.

    Raises:
        Problem: the file does not exist or cannot be read.
    """
    return _reduced(_upright(path), Image.Resampling.LANCZOS)


def annotated(path: Path, labels: NDArray[np.int32]) -> Annotated:
    """Reads the image of a label map.

    Args:
        path: image file.
        labels: H × W, int32, of the same size as the upright image.

    Returns:
        The image and its labels, reduced to 1024 px at most.

    Raises:
        Problem: the image cannot be read, or has another size than the labels.
    """
    image = _upright(path)
    if labels.shape != image.shape[:2]:
        raise Problem(
            f"{path.name} (upright) is {image.shape[1]} × {image.shape[0]} px, "
            f"its labels {labels.shape[1]} × {labels.shape[0]}: outline the image as it stands upright, at full size"
        )
    small = _reduced(image, Image.Resampling.LANCZOS)
    return Annotated(path.stem, small, _reduced(labels, Image.Resampling.NEAREST))


def read_labels(path: Path) -> NDArray[np.int32]:
    """Reads a label map: H × W, int32.

    Raises:
        Problem: the file cannot be read, or has several channels.
    """
    with _opened(path) as picture:
        labels = np.asarray(picture)
    if labels.ndim != 2:
        raise Problem(
            f"{path} has {labels.shape[2]} channels: labels must have one channel, with a number for each grain; "
            "save them as a 16-bit grey PNG or TIFF"
        )
    return labels.astype(np.int32)


def split(images: Sequence[Annotated], seed: int) -> tuple[list[Annotated], list[Annotated]]:
    """Splits images into those to learn from and a fifth that tells when to stop; each part has at least one.

    Args:
        images: annotated images.
        seed: seed of the draw.

    Raises:
        Problem: there are fewer than two images.
    """
    if len(images) < 2:
        raise Problem("fine-tuning needs two annotated images at least: one to learn from, one to tell when to stop")
    order = np.random.default_rng(seed).permutation(len(images))
    kept = max(1, round(KEPT_APART * len(images)))
    return [images[i] for i in order[kept:]], [images[i] for i in order[:kept]]


def _pairs(folder: Path) -> Iterator[tuple[Annotated, str]]:
    """Yields each annotated image with the names of its files, in words."""
    images = files_of(folder)
    for path in sorted(folder.glob("*.json")):
        content = _json(path)
        if isinstance(content, dict) and {"images", "annotations"} <= set(content):
            yield from _coco(path, content)
    for path in images:
        for suffix in (".png", ".tif", ".tiff"):
            labels = path.with_name(f"{path.stem}_labels{suffix}")
            if labels.exists():
                yield annotated(path, read_labels(labels)), f"{path.name} with {labels.name}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise Problem(f"{path} is not JSON ({error}): mend it, or move it out of the folder") from error


def _coco(path: Path, content: Mapping[str, Any]) -> Iterator[tuple[Annotated, str]]:
    for about in content["images"]:
        image = path.parent / about["file_name"]
        if not image.is_file():
            raise Problem(f'{path} names {image}, which is not there: add it, or drop it from "images"')
        labels = np.zeros((about["height"], about["width"]), np.int32)
        mine = [entry for entry in content["annotations"] if entry["image_id"] == about["id"]]
        # Large grains first, so that a small grain on a large one is not painted over.
        for number, entry in enumerate(sorted(mine, key=lambda entry: -float(entry.get("area", 0))), start=1):
            fault = _fault(entry.get("segmentation"))
            if fault:
                raise Problem(f"{path}: annotation {entry.get('id')} of {image.name} {fault}: outline it, or drop it")
            labels[_decode(entry["segmentation"], *labels.shape)] = number
        yield annotated(image, labels), f"{image.name} in {path.name}"


def _fault(segmentation: Any) -> str | None:
    """Returns what is wrong with a COCO segmentation, in words; None if nothing is."""
    if not segmentation:
        return "has no segmentation"
    if isinstance(segmentation, list) and any(not isinstance(each, list) or len(each) < 6 for each in segmentation):
        return "has a polygon that is no list of six numbers (three points) or more"
    return None


def _decode(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        runs = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = coco.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return np.asarray(coco.decode(runs)).astype(bool)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise Problem(f"{path} cannot be read: {error}") from error


def _upright(path: Path) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
        return read_picture(data, read_header(data, most_reads=None), most_reads=None).pixels
    except (OSError, Refused) as error:
        raise Problem(f"{path} cannot be read: {error}") from error


def _reduced(pixels: NDArray[T], resampling: Image.Resampling) -> NDArray[T]:
    """Reduces pixels (H × W or H × W × 3) to 1024 px at most on the longer side."""
    height, width = pixels.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), resampling))
