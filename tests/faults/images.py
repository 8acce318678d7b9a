"""Images that tell the stub how to treat them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

from PIL import Image

from tests.faults.stub import LARGE, POISON


def make_images(count: int, seed: int) -> Iterator[bytes]:
    """Makes small, different PNGs; one in ten kills its worker each time, one in ten is refused."""
    chance = random.Random(seed)
    for number in range(count):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number % 256, seed % 256, number // 256)).save(file, "PNG")
        yield file.getvalue() + chance.choice([POISON, LARGE, *[f"{seed}-{number}".encode()] * 8])
