"""Asks TorchServe questions about images, and remembers the digests of uploaded images."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from datetime import datetime
from typing import Any

from grainserve.errors import EmbeddingMissing, HandlerFailed, ImageNotFound, ModelNotFound
from grainserve.gateway.access import Access
from grainserve.gateway.keys import Caller
from grainserve.gateway.metrics import Metrics
from grainserve.gateway.segment_requests import Question
from grainserve.gateway.service import Service
from grainserve.gateway.variants import Variants, VariantUnavailable
from grainserve.jobs.job import Job
from grainserve.jobs.store import DELETED
from grainserve.torchserve.inference import TorchServe

ANSWER_SECONDS = 120.0
"""Longest wait for TorchServe's answer, s: a large encoder needs half a minute on two CPU cores."""
REMEMBERED = 10_000
"""Uploaded images whose digests are remembered; each takes some 500 bytes."""

Key = tuple[str, datetime]


class Digests:
    """Digests of uploaded images, those asked for last.

    Args:
        most: most digests.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[Key, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, job: Job) -> str | None:
        """Returns the digest of a job's image; None if it is not known."""
        with self._lock:
            if (found := self._known.get(_key(job))) is not None:
                self._known.move_to_end(_key(job))
            return found

    def put(self, job: Job, digest: str) -> None:
        """Remembers the digest of a job's image."""
        with self._lock:
            self._known[_key(job)] = digest
            self._known.move_to_end(_key(job))
            if len(self._known) > self._most:
                self._known.popitem(last=False)


class Segmenter:
    """Answers questions, with TorchServe's help.

    Args:
        service: parts of the gateway.
        access: callers and their limits.
        variants: the models.
        metrics: counts what is sent.
    """

    def __init__(self, service: Service, access: Access, variants: Variants, metrics: Metrics) -> None:
        at = service.torchserve
        self._torchserve = at and TorchServe(at.inference, None, read_timeout=ANSWER_SECONDS)
        self._store = service.store
        self._keyless = service.keys.open
        self._access = access
        self._variants = variants
        self._metrics = metrics
        self._digests = Digests()

    def result(self, asked: Question, caller: Caller, traceparent: str) -> dict[str, Any]:
        """Asks about one image, and waits for the result.

        An uploaded image is read from the bucket only where no worker keeps it.

        Args:
            asked: the question.
            caller: who asks; workers keep apart what they keep for different callers.
            traceparent: W3C trace of the request.

        Returns:
            TorchServe's result, with an entry for each prompt.

        Raises:
            ImageNotFound: the caller has no such image.
            UnknownVariant, VariantUnavailable: the variant cannot answer.
            TorchServeError: TorchServe has no answer.
        """

        def ask(image: bytes | str, image_id: str) -> dict[str, Any]:
            return self._ask(asked, image, image_id, None if self._keyless else caller.name, traceparent)

        if asked.image_id is None:
            return ask(asked.image or asked.digest or "", uuid.uuid4().hex)
        job = self._access.own_job(asked.image_id, caller)
        if job.error == DELETED:
            raise ImageNotFound(job.image_id, self._store.bucket.name)
        if (digest := self._digests.get(job)) is not None:
            try:
                return ask(digest, job.image_id)
            except EmbeddingMissing:
                pass  # the image itself is sent below
        found = ask(self._store.image(job.image_id), job.image_id)
        self._digests.put(job, found["metadata"]["imageDigest"])
        return found

    def _ask(
        self, asked: Question, image: bytes | str, image_id: str, tenant: str | None, traceparent: str
    ) -> dict[str, Any]:
        variant = asked.variant or self._variants.default
        model = self._variants.model(variant)
        if self._torchserve is None:
            raise VariantUnavailable("this gateway only takes jobs: ask one that has workers")
        how, begun = "failed", time.perf_counter()
        try:
            found = self._torchserve.segment(
                *(model, None, image, asked.prompts, image_id),
                options=asked.options,
                tenant=tenant,
                traceparent=traceparent,
            )
            if len(found.get("prompts", ())) != len(asked.prompts) or "imageDigest" not in found["metadata"]:
                raise HandlerFailed(200, "invalid_answer", f"the answer of {model} is none to prompts")
            how = "digest" if isinstance(image, str) else "image"
        except EmbeddingMissing:
            how = "missing"
            raise
        except ModelNotFound:
            raise VariantUnavailable(f"variant {variant!r} cannot answer now: its model is not registered") from None
        finally:
            self._metrics.count_segment(variant, how, time.perf_counter() - begun)
        return found


def _key(job: Job) -> Key:
    """Returns what no other image has: an image that is deleted and submitted again may have its id again."""
    return job.image_id, job.created
