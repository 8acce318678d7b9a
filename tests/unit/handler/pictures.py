"""Files of every kind that a request may bring, made in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def gradient(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Makes a colour image without symmetry, so that turned and mirrored versions differ; H × W × 3."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 40 + 0 * x], axis=-1).astype(np.uint8)


def encoded(picture: NDArray[Any] | Image.Image, kind: str, **settings: Any) -> bytes:
    """Returns the bytes of a file of a kind."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()
