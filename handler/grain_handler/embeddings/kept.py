"""A kept image with its embedding, and its bytes for Redis."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass
from typing import Any

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grain_handler.sam.automask import Embedding
from grain_handler.wire.image import DecodedImage

MAGIC = b"grs1"
HEAD = struct.Struct(">4sI")
CHECKSUM_BYTES = 4
LONGEST_HEADER = 64 * 1024
HALF = np.dtype("<f2")


@dataclass(frozen=True)
class Kept:
    """An image with its embedding. The pixels are kept, too, because masks are measured on them.

    Attributes:
        image: decoded image.
        embedding: embedding of the part of the image that the key names, on the CPU.
    """

    image: DecodedImage
    embedding: Embedding

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes."""
        maps = self.embedding.maps
        return int(self.image.pixels.nbytes + self.embedding.tokens.nbytes + (0 if maps is None else maps.nbytes))


class DamagedError(Exception):
    """Bytes that are no kept embedding, or another one than the key's."""


def write(key: str, kept: Kept) -> bytes | None:
    """Writes an entry: magic, length of the header, header (JSON), tensors in half precision, pixels, CRC32C of all.

    Returns:
        The bytes; None if a value is too large for half precision.
    """
    tensors = [kept.embedding.tokens, *([] if kept.embedding.maps is None else [kept.embedding.maps])]
    with np.errstate(over="ignore"):
        halves = [tensor.numpy().astype(HALF) for tensor in tensors]
    if not all(np.isfinite(half).all() for half in halves):
        return None
    about = {name: value for name, value in asdict(kept.image).items() if name != "pixels"}
    shapes = {"pixels": kept.image.pixels.shape, "tensors": [half.shape for half in halves]}
    header = json.dumps({"key": key, "image": about, **shapes}).encode()
    parts = [HEAD.pack(MAGIC, len(header)), header, *(half.tobytes() for half in halves), kept.image.pixels.tobytes()]
    body = b"".join(parts)
    return body + _checksum(body)


def read(key: str, data: bytes) -> Kept:
    """Reads an entry that `write` wrote.

    Raises:
        DamagedError: the bytes are damaged, or another key's.
    """
    body, checksum = memoryview(data)[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(body) < HEAD.size or _checksum(bytes(body)) != checksum:
        raise DamagedError("the checksum is not that of the bytes")
    magic, length = HEAD.unpack_from(body)
    if magic != MAGIC or length > LONGEST_HEADER:
        raise DamagedError("it is of another version")
    try:
        header = json.loads(bytes(body[HEAD.size : HEAD.size + length]))
        if header["key"] != key:
            raise DamagedError("it is another image's")
        rest = body[HEAD.size + length :]
        tensors = []
        for shape in header["tensors"]:
            half, rest = _array(rest, shape, HALF)
            tensors.append(torch.from_numpy(half.astype(np.float32)))
        pixels, rest = _array(rest, header["pixels"], np.dtype(np.uint8))
        about = header["image"]
        image = DecodedImage(**{**about, "pixels": pixels, "warnings": tuple(about["warnings"])})
        return Kept(image, _embedding(*tensors))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(str(error)) from None


def _checksum(data: bytes) -> bytes:
    checksum: bytes = google_crc32c.Checksum(data).digest()
    return checksum


def _array(data: memoryview, shape: Any, kind: np.dtype[Any]) -> tuple[NDArray[Any], memoryview]:
    """Splits bytes into the array that they begin with and the rest."""
    end = math.prod(shape) * kind.itemsize
    return np.frombuffer(data[:end], kind).reshape(shape).copy(), data[end:]


def _embedding(tokens: Tensor, maps: Tensor | None = None) -> Embedding:
    return Embedding(tokens, maps)
