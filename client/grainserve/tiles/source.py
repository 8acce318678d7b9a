"""A large image → pixels to cut tiles from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import InvalidImage
from grainserve.images import ImageSource, image_bytes, opened, upright_rgb


@dataclass(frozen=True)
class Source:
    """A decoded image.

    Attributes:
        pixels: H × W × 3, uint8, RGB, upright: the only thing held at the image's full size.
        description: what the result's `metadata.image` says of it.
        warnings: what was changed on the way.
    """

    pixels: NDArray[np.uint8]
    description: dict[str, Any]
    warnings: tuple[str, ...]


def read(image: ImageSource) -> Source:
    """Decodes a large image once for all its tiles, as the handler would: grey levels keep one stretch throughout.

    Raises:
        InvalidImage: it cannot be read, or holds several images.
    """
    if not isinstance(image, np.ndarray):
        image, _ = image_bytes(image)
    with opened(image) as picture:
        if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":  # a phone's JPEG with previews behind it
            raise InvalidImage(
                f"the {picture.format} has {picture.n_frames} pages or frames: give one image at a time"  # type: ignore[attr-defined]
            )
        pixels = upright_rgb(picture)
        height, width = pixels.shape[:2]
        description = {
            "width": width,
            "height": height,
            "format": picture.format or "array",
            "mode": picture.mode,
            "bytes": image.nbytes if isinstance(image, np.ndarray) else len(image),
        }
        return Source(pixels, description, _changes(picture))


def _changes(picture: Image.Image) -> tuple[str, ...]:
    if not (picture.mode.startswith("I") or picture.mode == "F"):
        return ()
    low, high = picture.getextrema()
    return (f"grey levels {low:g} to {high:g} were stretched to 0 to 255",)
