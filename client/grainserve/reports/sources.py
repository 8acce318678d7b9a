"""Reads results from disk, and the images that they were measured from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainserve import config
from grainserve.client import Client
from grainserve.errors import ImageNotFound, InvalidConfiguration, StorageError
from grainserve.images import image_of
from grainserve.result import Result

MOST_OVERLAYS = 12
"""Largest number of images that a report shows: the first that have masks and grains."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One image of a sample.

    Attributes:
        name: name of the image in the report.
        result: result of the image.
        pixels: H × W × 3, uint8, or a smaller picture of the same image; None without a picture.
        missing: reason why there is no picture; empty where there is one, or none is wanted.
        fetch: brings the picture when it is drawn, or None and the reason why there is none; None where `pixels` and
            `missing` tell.
    """

    name: str
    result: Result
    pixels: NDArray[np.uint8] | None = None
    missing: str = ""
    fetch: Callable[[], tuple[NDArray[np.uint8] | None, str]] | None = None

    def picture(self) -> tuple[NDArray[np.uint8] | None, str]:
        """Returns the pixels, or None and the reason why there are none."""
        return self.fetch() if self.fetch else (self.pixels, self.missing)


def without_pictures(files: Sequence[Path]) -> list[Measured]:
    """Reads results for reports that show no image.

    Raises:
        InvalidResult: a file is no result.
        OSError: a file cannot be read.
    """
    return [Measured(file.stem, Result.from_json(file)) for file in files]


def with_pictures(files: Sequence[Path], *, image: Path | None = None, folder: Path | None = None) -> list[Measured]:
    """Reads results, each with its image: the given image, an image in a folder, or the one in the bucket.

    Args:
        files: JSON files of the results.
        image: image of the only result.
        folder: folder in which the image of NAME.json is NAME.png, NAME.jpg, ….

    Raises:
        InvalidConfiguration: `image` is given for several results.
        InvalidImage: an image cannot be read, or does not have the size that was measured.
        InvalidResult: a file is no result.
        OSError: a file cannot be read.
    """
    if image is not None:
        if len(files) != 1:
            raise InvalidConfiguration(f"--image is for one result, not {len(files)}: give --images FOLDER")
        result = Result.from_json(files[0])
        return [Measured(image.name, result, result.pixels(image))]
    if folder is not None:
        return [_from_folder(file, folder) for file in files]
    if not os.environ.get(config.BUCKET):
        missing = f"no image was given, and {config.BUCKET} names no bucket to fetch it from"
        return [replace(each, missing=missing) for each in without_pictures(files)]
    with Client(dispatch=False) as client:
        return [_from_bucket(client, file) for file in files]


def _from_folder(file: Path, folder: Path) -> Measured:
    result = Result.from_json(file)
    image = image_of(file, folder)
    if image is None:
        return Measured(file.stem, result, missing=f"no image called {file.stem} is in {folder}")
    return Measured(image.name, result, result.pixels(image))


def _from_bucket(client: Client, file: Path) -> Measured:
    result = client.result_from(file)
    try:
        return Measured(file.stem, result, result.pixels())
    except (ImageNotFound, StorageError) as error:
        return Measured(file.stem, result, missing=str(error))
