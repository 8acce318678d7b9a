"""The TorchServe entry: image bytes in, measured grains out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from grain_handler import answer
from grain_handler.embeddings.cache import EmbeddingCache
from grain_handler.embeddings.shared import connect
from grain_handler.errors import CheckpointError, RequestError
from grain_handler.grains import classify
from grain_handler.sam import compiled, models, prompt_decoder, seed_head
from grain_handler.sam.automask import Embedding, MaskGenerator
from grain_handler.sam.memory import keep_freed_memory
from grain_handler.sam.prompted import MaskPredictor
from grain_handler.segment import Found, FoundByPrompts, Segmentation, find_masks, find_prompted, measure
from grain_handler.storage import weights
from grain_handler.wire.options import parse_options
from grain_handler.wire.request import Request, parse, trace_id
from grain_handler.worker import logs
from grain_handler.worker.isolation import attempt
from grain_handler.worker.metrics import Metrics
from grain_handler.worker.model_config import ModelConfig


class GrainHandler(BaseHandler):  # type: ignore[misc]  # TorchServe is not typed
    """The handler of one worker's model.

    A list that goes from method to method has one item for each request; an error takes the place of a value.
    """

    def initialize(self, context: Any) -> None:
        """Fetches the checkpoint and loads the model; an error stops the worker, and gives the reason."""
        keep_freed_memory()
        self.context = context
        self.config = ModelConfig.read(context)
        self.metrics = Metrics(self.config)
        self.timed = self.metrics.timed
        self.defaults = parse_options(self.config.defaults, {}, text=False)
        self.checkpoint = self.timed("download", weights.fetch, self.config.checkpoint, self.config.cache)
        self.metrics.fetched(self.checkpoint)
        self.classifier = None
        if self.config.classifier:
            self.classifier = classify.load(weights.fetch(self.config.classifier, self.config.cache))
        sam = models.load(self.config.model, self.checkpoint, self.config.device)
        self.prompt_decoder = None
        if self.config.prompt_decoder:
            self.prompt_decoder = weights.fetch(self.config.prompt_decoder, self.config.cache)
            prompt_decoder.load(self.prompt_decoder, self.config.model, self.checkpoint, sam)
        self.package, encoder = None, None
        if self.config.encoder_package:
            self.package = weights.fetch(self.config.encoder_package, self.config.cache)
            encoder = compiled.load(self.package, sam.image_encoder, self.config.model, self.config.precision)
        self.seeds, head = None, None
        if self.config.seeds:
            self.seeds = weights.fetch(self.config.seeds, self.config.cache)
            head = seed_head.load(self.seeds, self.config.model, sam)
        self.generator = MaskGenerator(sam, self.config.precision, self.config.memory_mib, encoder, head)
        self.predictor = MaskPredictor(self.generator)
        self.embeddings = self._embedding_cache()
        if self.defaults.points == "seeds" and not self.generator.predicts_seeds:
            raise CheckpointError(
                f"the model config's defaults say points: seeds, but this {self.config.model} predicts none: choose "
                "other points, a checkpoint that has them, or name a seed head (seeds: …; training.seeds makes one)"
            )
        self.initialized = True

    def _embedding_cache(self) -> EmbeddingCache | None:
        """Makes the embedding cache; None if the model config keeps no embeddings."""
        if not self.config.embedding_cache_mib:
            return None
        files = [file.crc32c for file in (self.checkpoint, self.package, self.seeds) if file]
        model = " ".join((self.config.model, self.config.precision, *files))
        shared = connect(self.config.redis, self.metrics.redis) if self.config.redis else None
        mib, device = self.config.embedding_cache_mib, self.config.device
        return EmbeddingCache(model, device, mib, shared, self.metrics.embedded)

    def preprocess(self, rows: list[dict[str, Any]]) -> list[Request | RequestError]:
        """Reads images, options and prompts from TorchServe's rows."""
        context, defaults = self.context, self.config.defaults
        checkpoint = (self.prompt_decoder or self.checkpoint).crc32c
        find = self.embeddings.find if self.embeddings else None
        self.metrics.batch(len(rows))

        def read(row: dict[str, Any], i: int) -> Request | RequestError:
            headers, request_id = context.get_all_request_header(i), context.get_request_id(i)
            asked = partial(parse, prompts_only=self.config.prompts_only)
            return self.timed("decode", asked, row, headers, request_id, defaults, checkpoint, find)

        requests = [attempt(row, partial(read, i=i), context.get_request_id(i)) for i, row in enumerate(rows)]
        # A request that failed by a fault of ours has no image id.
        self.image_ids = [request.image_id or context.get_request_id(i) for i, request in enumerate(requests)]
        return requests

    def inference(self, requests: list[Request | RequestError]) -> list[Found | RequestError]:
        """Finds SAM's masks in the images."""
        embedded = self._embed(requests)
        prompted = iter(self._answer_prompts(embedded))
        return [
            next(prompted)
            if isinstance(request, Request) and request.prompts
            else attempt(request, partial(self._find_masks, embedding=embedding), image_id)
            for (request, embedding), image_id in zip(embedded, self.image_ids, strict=True)
        ]

    def _embed(self, requests: list[Request | RequestError]) -> list[tuple[Request | RequestError, Embedding | None]]:
        """Pairs requests with their embeddings, which are made together, so an error there is the error of all."""
        images = [request for request in requests if isinstance(request, Request)]
        if not images:
            return [(request, None) for request in requests]
        every = ", ".join(self.image_ids)
        embed = partial(self.embeddings.embed, compute=self._encode) if self.embeddings else self._encode
        embeddings = attempt(images, embed, every)
        if isinstance(embeddings, RequestError):
            return [(request if isinstance(request, RequestError) else embeddings, None) for request in requests]
        made = iter(embeddings)
        return [(request, next(made) if isinstance(request, Request) else None) for request in requests]

    def _encode(self, requests: Sequence[Request]) -> list[Embedding]:
        return self.timed("encode", self.generator.embed, [request.pixels for request in requests])

    def _answer_prompts(
        self, embedded: list[tuple[Request | RequestError, Embedding | None]]
    ) -> list[Found | RequestError]:
        """Answers all requests that have prompts together, so an error there is the error of all."""
        asked = [
            (request, made) for request, made in embedded if isinstance(request, Request) and request.prompts and made
        ]
        if not asked:
            return []

        def find(given: Sequence[tuple[Request, Embedding]]) -> list[FoundByPrompts]:
            requests, embeddings = [request for request, _ in given], [made for _, made in given]
            return self.timed("masks", find_prompted, self.predictor, requests, embeddings)

        found = attempt(asked, find, ", ".join(self.image_ids))
        return [found] * len(asked) if isinstance(found, RequestError) else [*found]

    def _find_masks(self, request: Request, embedding: Embedding | None) -> Found:
        return self.timed("masks", find_masks, self.generator, request, embedding)

    def postprocess(self, found: list[Found | RequestError]) -> list[bytes]:
        """Measures the grains and writes the answers, JSON, each with its HTTP status."""
        bodies = []
        for i, (item, image_id) in enumerate(zip(found, self.image_ids, strict=True)):
            outcome = attempt(item, self._measure, image_id)
            rendered = attempt(outcome, self._render, image_id)
            if isinstance(rendered, RequestError):
                self.metrics.refused(rendered)
                outcome, rendered = rendered, answer.error(rendered)
            status, body = rendered
            logs.answered(image_id, status, outcome, trace_id(self.context.get_all_request_header(i)))
            self.context.set_response_status(code=status, idx=i)
            self.context.set_response_content_type(i, "application/json")
            bodies.append(body)
        self.metrics.memory()
        return bodies

    def _measure(self, found: Found) -> Segmentation:
        return self.timed("measure", measure, found, self.classifier)

    def _render(self, segmentation: Segmentation) -> tuple[int, bytes]:
        sources = answer.Sources(self.checkpoint, self.classifier, self.seeds, self.prompt_decoder)
        rendered = self.timed("write", answer.render, segmentation, self.config, sources)
        self.metrics.answered(len(segmentation.masks))
        return rendered

    def explain_handle(self, requests: list[Request | RequestError], _rows: Any) -> list[bytes]:
        """Answers a batch whose first row came to /explanations; each row gets its own answer all the same."""
        return self.postprocess(self.inference(requests))

    def describe_handle(self) -> dict[str, Any]:
        """Describes this worker, for `GET /models/{model}?customized=true`."""
        return {
            "model": self.config.model,
            "version": self.config.version,
            "checkpoint": answer.origin(self.checkpoint),
            "encoder": {"compiled": self.package is not None} | (answer.origin(self.package) if self.package else {}),
            "classifier": answer.about(self.classifier) if self.classifier else None,
            "seedHead": answer.origin(self.seeds) if self.seeds else None,
            "promptsOnly": self.config.prompts_only,
            "promptDecoder": answer.origin(self.prompt_decoder) if self.prompt_decoder else None,
            "embeddings": {"mib": self.config.embedding_cache_mib, "redis": bool(self.config.redis)},
            "device": str(self.config.device),
            "precision": self.config.precision,
            "threads": torch.get_num_threads(),
            "pid": os.getpid(),  # tells which worker has emptied its queue when a version is drained
            "defaults": self.defaults.model_dump(),
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        }
