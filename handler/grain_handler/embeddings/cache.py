"""The embedding cache: looks in the process, then in Redis, and computes what is in neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from grain_handler.embeddings.in_process import InProcess
from grain_handler.embeddings.kept import Kept
from grain_handler.embeddings.key import key_of
from grain_handler.embeddings.shared import Shared
from grain_handler.sam.automask import Embedding
from grain_handler.wire.image import DecodedImage
from grain_handler.wire.options import Options
from grain_handler.wire.request import Request

Told = Callable[[str, int], None]
"""Callback with the source of some embeddings and their number."""


class EmbeddingCache:
    """The embeddings of one worker's model.

    Args:
        model: the model's name, its precision and the CRC32C of each of its files, which determine an embedding.
        device: device that embeddings are returned on; kept ones are on the CPU.
        mib: limit for what the process keeps, MiB.
        shared: embeddings in Redis; None if workers share none.
        told: callback with `process`, `redis` or `computed`, and the number of embeddings.
    """

    def __init__(self, model: str, device: torch.device, mib: int, shared: Shared | None, told: Told) -> None:
        self.model, self.device, self.process, self.shared, self.told = model, device, InProcess(mib), shared, told

    def find(self, image_digest: str, options: Options, tenant: str) -> DecodedImage | None:
        """Finds a kept image by its digest; returns None if it is not kept."""
        key = key_of(image_digest, options, tenant, self.model)
        kept = self.process.get(key) or self._from_redis([key]).get(key)
        return kept.image if kept else None

    def embed(
        self, requests: Sequence[Request], compute: Callable[[Sequence[Request]], Sequence[Embedding]]
    ) -> list[Embedding]:
        """Finds or computes the embeddings of a batch.

        Args:
            requests: requests whose images are embedded.
            compute: computes the embeddings of some requests; called at most once, with each image once.
        """
        keys = [key_of(each.image_digest, each.options, each.tenant, self.model) for each in requests]
        by_key = dict(zip(keys, requests, strict=True))
        found = {key: kept.embedding for key in by_key if (kept := self.process.get(key))}
        self._tell("process", len(found))
        missing = [key for key in by_key if key not in found]
        shared = self._from_redis(missing)
        self._tell("redis", len(shared))
        found |= {key: kept.embedding for key, kept in shared.items()}
        if missing := [key for key in missing if key not in found]:
            for key, embedding in zip(missing, compute([by_key[key] for key in missing]), strict=True):
                copy = self._keep(key, by_key[key], embedding)
                # On a CPU the kept copy, so that it is the same tensor from the first request on.
                found[key] = copy if self.device.type == "cpu" else embedding
            self._tell("computed", len(missing))
        return [_placed(found[key], self.device) for key in keys]

    def _from_redis(self, keys: Sequence[str]) -> dict[str, Kept]:
        """Reads entries from Redis, and keeps them in the process, too."""
        found = self.shared.get(keys) if self.shared else {}
        for key, kept in found.items():
            self.process.put(key, kept)
        return found

    def _keep(self, key: str, request: Request, embedding: Embedding) -> Embedding:
        """Keeps an embedding, and returns what is kept."""
        # A copy, because an embedding may be a view of the whole batch's array.
        tokens, maps = (part if part is None else part.cpu().clone() for part in (embedding.tokens, embedding.maps))
        assert tokens is not None
        kept = Kept(request.image, Embedding(tokens, maps))
        self.process.put(key, kept)
        if self.shared:
            self.shared.put(key, kept)
        return kept.embedding

    def _tell(self, source: str, count: int) -> None:
        if count:
            self.told(source, count)


def _placed(embedding: Embedding, device: torch.device) -> Embedding:
    """Moves an embedding to a device."""
    maps = embedding.maps
    return Embedding(embedding.tokens.to(device), None if maps is None else maps.to(device))
