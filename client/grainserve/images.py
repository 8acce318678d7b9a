"""Images to submit, each read and decoded once, and the limits on them: file endings and largest side."""

from __future__ import annotations

import io
import mimetypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainserve.errors import InvalidImage
from grainserve.reading.picture import Header, Picture, read_header, read_picture, upright_rgb
from grainserve.reading.refusal import Refused
from grainserve.reading.stretch import Levels, eight_bits

MAX_SIDE = 1024
"""Largest longer side of an image that a model takes, px; a larger image is measured in tiles."""

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp")
"""Endings of the names of image files, in lower case."""


class ImageFile:
    """An image to submit. Its file is read once and its pixels are decoded once, when they are first asked for.

    Args:
        source: path; bytes of an image file; or array, H × W, H × W × 3 or H × W × 4, uint8, or H × W, uint16. An array
            becomes a PNG; files and bytes are sent as they are.
        most_reads: most reads that decoding a file may take, for files of strangers; None: any number.
    """

    def __init__(self, source: str | PathLike[str] | bytes | NDArray[Any], *, most_reads: int | None = None) -> None:
        self._source, self._most_reads = source, most_reads

    @classmethod
    def of(cls, image: ImageSource) -> ImageFile:
        """Returns an `ImageFile` unchanged, and makes one of any other source."""
        return image if isinstance(image, cls) else cls(image)  # type: ignore[arg-type]  # mypy#12155

    @property
    def path(self) -> Path | None:
        """The file's path; None if the source is no file."""
        return Path(self._source) if isinstance(self._source, str | PathLike) else None

    @cached_property
    def data(self) -> bytes:
        """The bytes to submit.

        Raises:
            InvalidImage: the file is missing or empty, or the array has another shape or dtype.
        """
        if isinstance(self._source, np.ndarray):
            return _png(self._source)
        if (path := self.path) is None:
            data = bytes(self._source)  # type: ignore[arg-type]  # a bytearray, too
        else:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InvalidImage(f"{path} cannot be read: {error.strerror or error}") from error
        if not data:
            raise InvalidImage("the image has no bytes: give an image file")
        return data

    @property
    def content_type(self) -> str:
        """The MIME type, guessed from the file's name; `image/png` for an array."""
        if isinstance(self._source, np.ndarray):
            return "image/png"
        guessed = mimetypes.guess_type(self.path.name)[0] if self.path else None
        return guessed or "application/octet-stream"

    @cached_property
    def header(self) -> Header:
        """The file's header; see `check_image`."""
        return check_image(self.data)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px; an array's need no header.

        Raises:
            InvalidImage: the image cannot be read.
        """
        if isinstance(self._source, np.ndarray):
            return _from_array(self._source).size
        return self.header.width, self.header.height

    @cached_property
    def picture(self) -> Picture:
        """The pixels, of an image of any size, as the handler decodes them.

        Raises:
            InvalidImage: the image cannot be read.
        """
        try:
            with _without_warnings():
                if isinstance(self._source, np.ndarray):
                    return _picture(self._source)
                return read_picture(self.data, self.header, most_reads=self._most_reads)
        except Refused as refused:
            raise InvalidImage(str(refused)) from None

    @property
    def format(self) -> str:
        """The file's format: PNG, JPEG, TIFF, BMP or WEBP; `array` for an array."""
        return "array" if isinstance(self._source, np.ndarray) else self.header.format

    @property
    def nbytes(self) -> int:
        """Size of the file, or of the array, bytes."""
        return self._source.nbytes if isinstance(self._source, np.ndarray) else len(self.data)

    def release(self) -> None:
        """Drops bytes and pixels from memory; they are read again when they are next asked for."""
        for name in ("data", "picture"):
            self.__dict__.pop(name, None)


ImageSource: TypeAlias = str | PathLike[str] | bytes | NDArray[Any] | ImageFile


def image_bytes(image: ImageSource) -> tuple[bytes, str]:
    """Returns the bytes to submit for an image, and their content type; see `ImageFile`."""
    read = ImageFile.of(image)
    return read.data, read.content_type


def display_pixels(image: ImageSource) -> NDArray[np.uint8]:
    """Decodes an image for display, upright as it was measured.

    Returns:
        H × W × 3, uint8, RGB; see `read_picture`.

    Raises:
        InvalidImage: the image cannot be read.
    """
    return ImageFile.of(image).picture.pixels


def image_of(result: Path, folder: Path) -> Path | None:
    """Finds the image that belongs to a result file, by its name without ending; None where there is none.

    Args:
        result: path of the result file.
        folder: folder of the images.

    Raises:
        InvalidImage: several images have that name.
    """
    found = sorted(each for each in folder.iterdir() if each.stem == result.stem and each.suffix.lower() in ENDINGS)
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise InvalidImage(f"{folder} has {names} for {result}: one is wanted")
    return found[0] if found else None


def check_image(data: bytes) -> Header:
    """Reads the header of an image file.

    Raises:
        InvalidImage: the bytes are no image, or of a kind that is not read; the message says what to do.
    """
    try:
        with _without_warnings():
            return read_header(data, most_reads=None)
    except Refused as refused:
        raise InvalidImage(str(refused)) from None


def _png(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    _from_array(array).save(buffer, "PNG")
    return buffer.getvalue()


def _from_array(array: NDArray[Any]) -> Image.Image:
    colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (colour or grey) or 0 in array.shape:
        raise InvalidImage(
            f"an array of shape {array.shape} and dtype {array.dtype} is no image: give H × W, H × W × 3 or H × W × 4 "
            "of uint8, or H × W of uint16"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _picture(array: NDArray[Any]) -> Picture:
    picture = _from_array(array)
    if array.dtype == np.uint8:
        return Picture(upright_rgb(picture), picture.mode, ())
    pixels, warnings = eight_bits(Levels(array[..., None]))
    return Picture(pixels, picture.mode, warnings)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences Pillow's warning of large images, which begins at half its limit: mosaics are that large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
