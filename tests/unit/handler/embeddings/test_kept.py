from __future__ import annotations

from dataclasses import replace

import google_crc32c
import numpy as np
import pytest
import torch

from grain_handler.embeddings.kept import HEAD, MAGIC, DamagedError, read, write
from grain_handler.sam.automask import Embedding
from tests.unit.handler.embeddings.made import kept

KEY = "k" * 64


def written() -> bytes:
    data = write(KEY, kept())
    assert data is not None
    return data


def signed(body: bytes) -> bytes:
    checksum: bytes = google_crc32c.Checksum(body).digest()
    return body + checksum


@pytest.mark.parametrize("maps", [True, False])
def test_what_was_written_is_read_but_for_half_precision(maps: bool) -> None:
    before = kept(maps=maps)
    data = write(KEY, before)
    assert data is not None
    after = read(KEY, data)
    assert replace(after.image, pixels=before.image.pixels) == before.image
    assert np.array_equal(after.image.pixels, before.image.pixels)
    assert torch.equal(after.embedding.tokens, before.embedding.tokens.half().float())
    assert (after.embedding.maps is None) == (not maps)
    if before.embedding.maps is not None and after.embedding.maps is not None:
        assert torch.equal(after.embedding.maps, before.embedding.maps.half().float())


def test_any_changed_byte_is_damage() -> None:
    data = written()
    for i in range(0, len(data), 13):
        with pytest.raises(DamagedError):
            read(KEY, data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
    for cut in (b"", data[:3], data[:20], data[:-1]):
        with pytest.raises(DamagedError):
            read(KEY, cut)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HEAD.pack(b"grs0", 2) + b"{}",
        HEAD.pack(MAGIC, 2**31) + b"{}",
        HEAD.pack(MAGIC, 2) + b"{}",
        HEAD.pack(MAGIC, 2) + b"[]",
        HEAD.pack(MAGIC, 1) + b"{",
        HEAD.pack(MAGIC, len(b'{"key": "%s", "tensors": [[999999, 999999]]}' % KEY.encode()))
        + b'{"key": "%s", "tensors": [[999999, 999999]]}' % KEY.encode(),
    ],
)
def test_bytes_of_another_kind_are_damage_although_their_checksum_is_right(body: bytes) -> None:
    with pytest.raises(DamagedError):
        read(KEY, signed(body))


def test_another_images_entry_is_damage() -> None:
    with pytest.raises(DamagedError, match="another"):
        read("other", written())


def test_what_half_precision_does_not_hold_is_not_written() -> None:
    before = kept()
    large = Embedding(before.embedding.tokens * 1e6, before.embedding.maps)
    assert write(KEY, replace(before, embedding=large)) is None
