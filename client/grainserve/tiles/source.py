"""Decodes a large image into pixels to cut tiles from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainserve.images import ImageFile, ImageSource
from grainserve.reading.picture import Picture


@dataclass(frozen=True)
class Source:
    """A decoded image.

    Attributes:
        pixels: H × W × 3, uint8, RGB, upright: the only thing held at the image's full size.
        description: `metadata.image` of the result.
        warnings: what decoding changed, in words.
    """

    pixels: NDArray[np.uint8]
    description: dict[str, Any]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, picture: Picture, kind: str, nbytes: int) -> Source:
        """Describes a decoded picture.

        Args:
            picture: the picture.
            kind: format of its file.
            nbytes: size of the file, bytes.
        """
        height, width = picture.pixels.shape[:2]
        description = {"width": width, "height": height, "format": kind, "mode": picture.mode, "bytes": nbytes}
        return cls(picture.pixels, description, picture.warnings)


def read(image: ImageSource) -> Source:
    """Decodes a large image once for all its tiles, as the handler would; deep levels get one stretch throughout.

    Raises:
        InvalidImage: the image cannot be read, or the file holds several images.
    """
    read = ImageFile.of(image)
    return Source.of(read.picture, read.format, read.nbytes)
