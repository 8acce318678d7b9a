"""Results on disk, and the images they were measured from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainserve import config
from grainserve.errors import GrainserveError, InvalidConfiguration, InvalidImage, InvalidResult
from grainserve.images import display_pixels
from grainserve.protocol import JobStore
from grainserve.result import Result
from grainserve.storage import Bucket

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


@dataclass(frozen=True, eq=False)
class Measured:
    """One image of a sample.

    Attributes:
        name: of the image, as the report calls it.
        result: its result.
        pixels: H × W × 3, uint8; None where there is no picture.
        missing: why there is none.
    """

    name: str
    result: Result
    pixels: NDArray[np.uint8] | None = None
    missing: str = ""


def results_in(paths: Sequence[Path]) -> tuple[list[tuple[str, Result]], list[str]]:
    """Reads results; of a folder, every result in it.

    Args:
        paths: files that `Result.to_json` wrote, or folders of them.

    Returns:
        Names and results, and a line about each *.json of a folder that is none.

    Raises:
        InvalidResult: a file that was named is no result, or a folder has none.
        OSError: it cannot be read.
    """
    found: list[tuple[str, Result]] = []
    skipped: list[str] = []
    for path in paths:
        if not path.is_dir():
            found.append((path.stem, Result.from_json(path)))
            continue
        before = len(found)
        for file in sorted(path.glob("*.json")):
            try:
                found.append((file.stem, Result.from_json(file)))
            except InvalidResult as error:
                skipped.append(f"{file} is left out: {error}")
        if len(found) == before:
            raise InvalidResult(f"{path} has no results: give a folder of files that `grainserve analyze` wrote")
    return found, skipped


def with_pictures(
    named: Sequence[tuple[str, Result]], *, image: Path | None = None, folder: Path | None = None
) -> list[Measured]:
    """Finds the image of each result: the one given, the file of its name in a folder, or the one in the bucket.

    Args:
        named: names and results.
        image: the image of the only result.
        folder: where the image of result NAME is NAME.png, NAME.jpg, …

    Raises:
        InvalidConfiguration: one image for several results.
        InvalidImage: a file that was given cannot be read as an image.
    """
    if image is not None:
        if len(named) != 1:
            raise InvalidConfiguration(f"--image is for one result, not {len(named)}: give --images FOLDER")
        return [Measured(image.name, named[0][1], display_pixels(image))]
    if folder is not None:
        return [_from_folder(name, result, folder) for name, result in named]
    return [_from_bucket(name, result) for name, result in named]


def _from_folder(name: str, result: Result, folder: Path) -> Measured:
    files = sorted(each for each in folder.glob("*") if each.stem == name and each.suffix.lower() in IMAGES)
    if len(files) > 1:
        raise InvalidImage(f"{folder} has {len(files)} images called {name}: leave one")
    if not files:
        return Measured(name, result, missing=f"no image called {name} is in the folder that was given")
    return Measured(files[0].name, result, display_pixels(files[0]))


def _from_bucket(name: str, result: Result) -> Measured:
    if not os.environ.get(config.BUCKET):
        return Measured(name, result, missing=f"no image file was given, and {config.BUCKET} names no bucket")
    try:
        data = JobStore(Bucket(config.setting(None, config.BUCKET))).image(result.image_id)
    except GrainserveError as error:
        return Measured(name, result, missing=str(error))
    return Measured(name, result, display_pixels(data))
