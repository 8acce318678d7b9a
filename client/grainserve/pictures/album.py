"""An image's preview and tiles as files, each made once and kept for a while."""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum

from PIL import Image

from grainserve import admission
from grainserve.errors import GrainserveError
from grainserve.pictures import pyramid
from grainserve.pictures.cache import Cache
from grainserve.pictures.pyramid import Pyramid

FILES = 64 * 2**20
"""Most bytes of finished files that are kept."""
PIXELS = 160 * 2**20
"""Most bytes of decoded pixels of large images that are kept: those of the largest one, with all its levels."""
QUALITY = {"quality": 85, "method": 2}
"""How WebP is written: twice as fast as Pillow's own method, and a little larger."""


class TileNotFound(GrainserveError, LookupError):
    """The image has no such tile."""

    code = "tile_not_found"


class Form(StrEnum):
    """The format of a picture."""

    WEBP = "webp"
    PNG = "png"


@dataclass(frozen=True)
class File:
    """A picture as a file.

    Attributes:
        data: bytes of the file.
        form: format of the file.
        size: width and height of the whole image at full size, px.
    """

    data: bytes
    form: Form
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Size of the file, bytes."""
        return len(self.data)


@dataclass(frozen=True)
class Original:
    """An image to make pictures of.

    Attributes:
        key: what no other image has.
        read: reads the image file; called only where its pixels are needed and not kept.
    """

    key: Hashable
    read: Callable[[], bytes]


class Album:
    """Pictures of images.

    It keeps finished files, and the pixels of large images, so that all tiles of an image need one decoding. Large
    images are decoded one after the other, so that one of them at a time takes memory.

    Args:
        files: most bytes of finished files that are kept.
        pixels: most bytes of pixels that are kept.
    """

    def __init__(self, files: int = FILES, pixels: int = PIXELS) -> None:
        self._files: Cache[File] = Cache(files)
        self._pyramids: Cache[Pyramid] = Cache(pixels)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return self._files.nbytes + self._pyramids.nbytes

    def preview(self, image: Original, side: int, form: Form) -> File:
        """Returns the whole image, its longer side `side` px or less.

        Raises:
            ImageRejected: the image cannot be decoded.
        """
        return self._file(image, ("preview", side), form, lambda levels: levels.fitted(side))

    def tile(self, image: Original, level: int, column: int, row: int) -> File:
        """Returns a tile as WebP.

        Raises:
            TileNotFound: the image has no such tile.
            ImageRejected: the image cannot be decoded.
        """

        def cut(levels: Pyramid) -> Image.Image:
            if (tile := levels.tile(level, column, row)) is None:
                raise TileNotFound(f"the image has no tile {level}/{column}/{row}: ask which ones there are")
            return tile

        return self._file(image, ("tile", level, column, row), Form.WEBP, cut)

    def size(self, image: Original) -> tuple[tuple[int, int], int]:
        """Returns an image's width and height as displayed, px, and the number of its levels.

        Raises:
            ImageRejected: the image cannot be decoded.
        """
        made = self._pyramid(image)
        return made.size, len(made.levels)

    def _file(
        self, image: Original, what: tuple[str | int, ...], form: Form, draw: Callable[[Pyramid], Image.Image]
    ) -> File:
        key = image.key, what, form
        if (known := self._files.get(key)) is not None:
            return known
        made = self._pyramid(image)
        buffer = io.BytesIO()
        options = QUALITY if form is Form.WEBP else {"compress_level": 1}
        draw(made).save(buffer, form.value.upper(), **options)
        file = File(buffer.getvalue(), form, made.size)
        self._files.put(key, file)
        return file

    def _pyramid(self, image: Original) -> Pyramid:
        if (known := self._pyramids.get(image.key)) is not None:
            return known
        data = image.read()
        header = admission.check_any(data)
        if not admission.is_large(header):  # decoded in milliseconds
            return Pyramid.of(pyramid.decoded(data, header).pixels)
        with admission.DECODING:
            if (known := self._pyramids.get(image.key)) is None:  # else another request was first
                known = Pyramid.of(pyramid.decoded(data, header).pixels)
                self._pyramids.put(image.key, known)
            return known
